"""Train each task alone, and each task's part of a pool on every other task."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from ..config import Config
from ..records import (
    ALONE_LABEL,
    Final,
    Selection,
    TrainingJob,
    TransferRow,
)
from ..search.trial_log import Trial
from ..structure import SharedStructure, Structure
from .contenders import (
    Contender,
    baseline_contenders,
    final,
    found_grid,
    found_structure,
    search_again,
    short,
    tune_and_train,
)
from .job_runner import JobRunner

_log = logging.getLogger(__name__)


def methods_alone(config: Config) -> tuple[str, ...]:
    """Return the methods that are trained for each task alone: as configured, or the search, and LoRA where it is a
    baseline."""
    if config.multitask.alone is not None:
        return config.multitask.alone
    return ("slat", *dict.fromkeys(b.method for b in config.baselines if b.method == "lora"))


def train_alone(
    task: str, runner: JobRunner, members: Sequence[Trial]
) -> tuple[list[tuple[Contender, TrainingJob]], Selection]:
    """Tune and train for one task alone, with its share of the steps; test every seed.

    A found pool is set beside a search for each task with an equal part of its parameters, so that the sums are equal.
    What both find is then trained again in the same way, or searched again by each seed, as configured.

    Returns:
        The trainings, and their records.
    """
    config = runner.context.config
    methods = methods_alone(config)
    contenders = [contender for contender in baseline_contenders(config) if contender.grid[0].method in methods]
    if "slat" in methods:
        contenders += _found_alone(runner, members)
    _log.info(f"{task} alone: tune and train {len(contenders)} methods")
    trainings, tuning = tune_and_train(runner, contenders)
    runner.evaluate([job for _, job in trainings])
    finals = tuple(_final_alone(task, runner, contender, job) for contender, job in trainings)
    return trainings, Selection(
        finals=finals, tuning={_tuned_as(title, task): tried for title, tried in tuning.items()}
    )


def _final_alone(task: str, runner: JobRunner, contender: Contender, job: TrainingJob) -> Final:
    name = f"{contender.title}, each task alone"
    names = {"label": f"{ALONE_LABEL}{job.label}", "name": name, "group": name}
    return final(runner, contender, job, **names, task=task, tuned_as=_tuned_as(contender.title, task))


def _tuned_as(title: str, task: str) -> str:
    """Return the name in the record of the learning rates of a method that was trained for one task."""
    return f"{title}, {task} alone"


def _found_alone(runner: JobRunner, members: Sequence[Trial]) -> Iterator[Contender]:
    """Yield, for each found pool, the structures that searches of one task alone find in an equal part of its
    parameters."""
    config = runner.context.config
    searches: list[tuple[str, str, Trial, TrainingJob]] = []
    for trial in members:
        shared = trial.structure
        assert isinstance(shared, SharedStructure)
        share = shared.params / len(shared.tasks)
        if share >= 1:
            digest, title = shared.digest[:6], f"SLAT of {short(shared.params)} in all"
            searches.append((digest, title, trial, search_again(f"search-{digest}", trial, share)))
    results = runner.train_successful([job for *_, job in searches])
    for digest, title, trial, job in searches:
        if job.key not in results:
            continue
        if "retrained" in config.search.final_weights:
            structure = found_structure(runner, job)
            assert isinstance(structure, Structure)
            yield Contender(title, found_grid(f"slat-{digest}", structure, trial, config), digest)
        if "inherited" in config.search.final_weights:
            yield Contender(f"{title}, own weights", (job,), digest)


def train_transfers(runners: Mapping[str, JobRunner], member: Trial) -> list[TransferRow]:
    """Train the part of a pool that each task uses, from fresh weights, on each task; and a random part of the pool, as
    large as what the task itself uses. Learning rates are tuned for each on validation with one seed; every seed is
    tested.

    Tasks that use the same of the pool share a training.

    Returns:
        A row a structure, task and seed.
    """
    shared = member.structure
    assert isinstance(shared, SharedStructure)
    rows: list[TransferRow] = []
    _log.info("transfer: what each task uses, trained on each task alone")
    for task, runner in runners.items():
        config, own = runner.context.config, shared.of(task)
        random = shared.pool.random_part(own.params, seed=config.seed)
        contenders = [
            Contender(name, found_grid(f"transfer-{structure.digest[:6]}", structure, member, config))
            for name, structure in [*((other, shared.of(other)) for other in shared.tasks), ("random", random)]
            if structure.modules
        ]
        trainings, _ = tune_and_train(runner, contenders)
        trained = runner.train_successful([job for _, job in trainings])
        tested = runner.evaluate([job for _, job in trainings])
        rows += [
            TransferRow(
                of=contender.title,
                on=task,
                seed=job.seed,
                params=trained[job.key].params,
                quality=tested[job.key].quality,
            )
            for contender, job in trainings
        ]
    return rows
