"""The adapters that a run keeps for use: an adapter a method and task, with the weights of the best seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .comparison.contenders import Contender, as_trained, best_seeds
from .comparison.job_runner import JobRunner
from .inference.predictor import save_bundle
from .inference.shared_predictor import save_shared
from .records import ALONE_LABEL, Measures, TrainingJob
from .structure import SharedStructure
from .training.context import Context
from .training.protocol import State, head_names, those_of


def save_adapters(
    folder: Path, runner: JobRunner, finals: Sequence[tuple[Contender, TrainingJob]], alone: str = ""
) -> None:
    """Save each method with the weights of its best seed on validation, but for full fine-tuning, which is as large as
    the model.

    Args:
        folder: gets a folder a method; of several tasks with a folder a task in it.
        runner: that trained the methods.
        alone: name of the task that they were trained for alone, in a run over several.
    """
    context = runner.context
    adapters = [(contender, job) for contender, job in finals if job.method != "full"]
    digests = {job.label: contender.digest for contender, job in adapters}
    for label, job in best_seeds(runner, adapters).items():
        place, state = folder / (f"{ALONE_LABEL}{label}/{alone}" if alone else label), runner.state(job)
        measures = runner.train_well([job])[job.key].validation
        structure = as_trained(runner, job) if digests[label] else None
        if isinstance(structure, SharedStructure):
            save_shared(place, context, job, structure, state, measures)
        else:
            _save_each(place, context, runner.as_found(job), state, measures)


def _save_each(place: Path, context: Context, job: TrainingJob, state: State, measures: Measures) -> None:
    """Save a training as an adapter of each task; of a single one in ``place`` itself."""
    several = len(context.tasks) > 1
    modules = {name: value for name, value in state.items() if name.startswith("adapter.")}
    for number, (prefix, task) in enumerate(zip(head_names(len(context.tasks)), context.names, strict=True)):
        where, its = (place / task, replace(job, label=f"{job.label}-{task}")) if several else (place, job)
        head = {f"head.{name}": value for name, value in those_of(f"{prefix}.", state).items()}
        save_bundle(where, context.of(number), its, modules | head, measures.of(task))
