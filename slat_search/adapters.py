"""Save the adapters of a run: one per method, with the weights of its best seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .comparison.contenders import Contender, best_seeds
from .comparison.job_runner import JobRunner
from .inference.saved import write_adapter
from .records import ALONE_LABEL, TrainingJob


def save_adapters(
    folder: Path, runner: JobRunner, finals: Sequence[tuple[Contender, TrainingJob]], alone: str = ""
) -> None:
    """Save each method with the weights of its best seed on validation, but for full fine-tuning, which is as large as
    the model.

    Args:
        folder: gets a folder a method.
        runner: that trained the methods.
        alone: name of the task that they were trained for alone, in a run over several.
    """
    adapters = [(contender, job) for contender, job in finals if job.method != "full"]
    for label, job in best_seeds(runner, adapters).items():
        place = folder / (f"{ALONE_LABEL}{label}/{alone}" if alone else label)
        measures = runner.train_successful([job])[job.key].validation
        write_adapter(place, runner.context, runner.structure_job(job), runner.state(job), measures)
