"""What a run will train, and about what it takes on this machine; see ``slat run --dry-run``."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from .search.runtime import share_of, this_node  # first: sets Ray's environment

import torch  # isort: skip

from .analysis.formats import duration, in_bytes
from .comparison.contenders import Contender, baseline_contenders
from .comparison.counts import rates_of_found, stages_of
from .config import Config
from .opening import check_methods, check_perturbed, describe
from .run_folder import RunFolder
from .search.space import SearchSpace
from .search.trackers import trackers
from .search.tune import expected_steps, rung_steps
from .search.warm_start import check_warm_start
from .tasks import TaskData, load_task
from .training.context import Context, prepare
from .training.memory import resident_peak
from .training.pace import Pace, job_pace, threads, trial_pace, validation_seconds

_log = logging.getLogger(__name__)
_ROWS, _PROMPTS = 64, 24  # rows per split to measure, with a head and without; the rest is scaled up
_METHODS = 6  # baselines that are measured; others count as the mean of these


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    Attributes:
        name: of the stage.
        what: that it trains or tests, in words.
        steps: optimizer steps at most; none of a test.
        seconds: estimate.
    """

    name: str
    what: str
    steps: int
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a run will train, and about what it takes.

    Attributes:
        lines: tasks, model and methods in words.
        stages: in order.
        processes: the most that train at a time.
        memory: bytes of each.
        disk: bytes of the weights that the run keeps.
        notes: what the estimate leaves out.
    """

    lines: tuple[str, ...]
    stages: tuple[Stage, ...]
    processes: int
    memory: int
    disk: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Return those of all stages."""
        return sum(stage.seconds for stage in self.stages)


@dataclass(frozen=True)
class _Method:
    """A method of the comparison: how many learning rates are tried, and its pace."""

    rates: int
    pace: Pace


def forecast(config: Config) -> Forecast:
    """Count what a run will train, and measure a few steps of it on this machine. No run folder is made.

    Raises:
        SlatError: what a run would raise before it begins: wrong data, a wrong model, a method that does not fit it, a
            tracker that is not installed. What is wrong with its folder, or with the texts of earlier runs that the
            search learns from, is not looked at.
    """
    check_perturbed(config)
    check_warm_start(config)
    trackers(config)
    data = [load_task(task, config.seed) for task in config.tasks or (config.task,)]
    context, _ = prepare(_small(config, data))
    supernet = check_methods(context)
    _log.info("measuring a few steps of a search and of each method on this machine")
    space, resources = SearchSpace.in_context(context), share_of(config.resources, [this_node()])
    concurrent = max(1, int(this_node().get("GPU", 0) / resources.gpus) if resources.gpus else int(this_node()["CPU"]))
    contenders = [*baseline_contenders(config)]

    validation_scale = _texts(data, "validation") / sum(len(task.validation) for task in context.tasks)
    with threads(1):
        methods = _methods(context, contenders, validation_scale)
    with threads(resources.cpus):
        validation_time = validation_seconds(context)
        trial = trial_pace(context, space.sample(config.seed), validation_time)
    trial = replace(trial, validation=validation_time * validation_scale)
    if not methods:
        methods = [_Method(rates, trial) for rates in rates_of_found(config)]
    stages = (
        _search(config, space.trials, min(resources.concurrent, space.trials), trial),
        *_trainings(config, methods, len(contenders), concurrent),
        _test(config, methods, data, concurrent),
        *_apart(context, methods, concurrent),
    )
    lines = (
        f"{config.seeds} seeds, {config.training.steps} steps of {config.training.batch_size} texts each training",
        *(describe(task) for task in data),
        f"model {config.model.name}: {context.backbone_params:,} frozen parameters",
        f"supernet: {supernet.describe()}",
        f"baselines: {', '.join(c.title for c in contenders) or 'those in the size of found structures alone'}",
    )
    disk = sum((method.rates + config.seeds) * method.pace.weights for method in methods)
    return Forecast(lines, stages, max(concurrent, resources.concurrent), resident_peak(), disk, tuple(_notes(config)))


def _small(config: Config, data: Sequence[TaskData]) -> Config:
    """Return the configuration with few rows of each task, for measuring; all labels stay."""

    def capped(number: int) -> dict[str, int]:
        task = (config.tasks or (config.task,))[number]
        most = max(_PROMPTS if task.is_prompted else _ROWS, 2 * len(data[number].labels))
        return {"max_rows": min(most, task.max_rows or most)}

    tasks = tuple(task.model_copy(update=capped(number)) for number, task in enumerate(config.tasks))
    task = tasks[0] if tasks else config.task.model_copy(update=capped(0))
    return config.model_copy(update={"task": task, "tasks": tasks})


def _texts(data: Sequence[TaskData], split: str) -> int:
    return sum(len(task.splits[split]) for task in data)


def _methods(context: Context, contenders: Sequence[Contender], validation_scale: float) -> list[_Method]:
    """Return the baselines, of which the first few are measured, and what will be found, which is taken to be like
    them; none where there is no baseline.

    Args:
        validation_scale: duration of a full validation relative to the measured one.
    """
    if not contenders:
        return []
    validation_time = validation_seconds(context)
    measured = [job_pace(context, contender.grid[0], validation_time) for contender in contenders[:_METHODS]]
    measured = [replace(pace, validation=validation_time * validation_scale) for pace in measured]
    usual = _mean(measured)
    paces = [*measured, *[usual] * (len(contenders) - len(measured))]
    methods = [_Method(rates, usual) for rates in rates_of_found(context.config)]
    return [*(_Method(len(c.grid), pace) for c, pace in zip(contenders, paces, strict=True)), *methods]


def _mean(paces: Sequence[Pace]) -> Pace:
    return Pace(
        fmean(pace.begin for pace in paces),
        fmean(pace.step for pace in paces),
        fmean(pace.validation for pace in paces),
        int(median(pace.weights for pace in paces)),
    )


def _search(config: Config, trials: int, concurrent: int, pace: Pace) -> Stage:
    """The search; see :func:`.expected_steps`."""
    steps, rungs = config.training.steps, rung_steps(config)
    expected = expected_steps(config)
    early = f", about {expected / steps:.0%} of them before weak ones are stopped" if expected < steps else ""
    seconds, limit = trials * pace.seconds(expected, 1 + len(rungs)) / concurrent, config.search.time_limit
    fewer = ""
    if limit is not None and seconds > limit:
        seconds, fewer = limit, f"; as many as fit into {duration(limit)}"
    what = f"{trials} trials of {steps} steps, {concurrent} at a time{early}{fewer}"
    return Stage("search", what, trials * steps, seconds)


def _trainings(config: Config, methods: Sequence[_Method], baselines: int, concurrent: int) -> Iterator[Stage]:
    """The trainings that tune learning rates with one seed, and those with the other seeds."""
    steps = config.training.steps
    tuning = [method.pace.seconds(steps) for method in methods for _ in range(method.rates)]
    num_found = len(methods) - baselines
    what = f"{len(tuning)} trainings: {baselines} baselines, {num_found} found structures or methods in their size"
    yield Stage("learning rates", what, len(tuning) * steps, sum(tuning) / min(concurrent, max(1, len(tuning))))
    others = [method.pace.seconds(steps) for method in methods for _ in range(config.seeds - 1)]
    what = f"{len(others)} trainings: {len(methods)} methods, further seeds of each"
    yield Stage("seeds", what, len(others) * steps, sum(others) / min(concurrent, max(1, len(others))))


def _test(config: Config, methods: Sequence[_Method], data: Sequence[TaskData], concurrent: int) -> Stage:
    """The tests, from the time of a validation, which is on two sets of texts."""
    sets = 1 + len(config.evaluation.kinds) * sum(ratio > 0 for ratio in config.evaluation.ratios)
    models, texts = len(methods) * config.seeds, _texts(data, "test")
    ratio = texts * sets / (2 * _texts(data, "validation"))
    seconds = sum(config.seeds * method.pace.validation * ratio for method in methods) / min(concurrent, models)
    return Stage("test", f"{models} models on {texts:,} texts, clean and perturbed {sets - 1} times", 0, seconds)


def _apart(context: Context, methods: Sequence[_Method], concurrent: int) -> Iterator[Stage]:
    """Yield the extra stages of a multi-task run, at the mean pace of the joint trainings."""
    stages, pace = stages_of(context), fmean(method.pace.step for method in methods)
    for name, what in (("alone", "methods for each task alone"), ("transfer", "what a task uses, on every other task")):
        if name in stages:
            yield Stage(name, what, int(stages[name]), stages[name] * pace / concurrent)


def _notes(config: Config) -> Iterator[str]:
    if len([*baseline_contenders(config)]) > _METHODS:
        yield f"of the baselines the first {_METHODS} were measured; the others count as their mean"


def text_of(plan: Forecast, folder: RunFolder) -> str:
    """Format a forecast for people."""
    state = "done" if folder.is_done else "there already" if folder.exists else "new"
    width = max(len(stage.what) for stage in plan.stages)
    rows = [
        f"{stage.name:<15}{stage.what:<{width}}{f'{stage.steps:,} steps' if stage.steps else '':>15}"
        f"{duration(stage.seconds):>9}"
        for stage in plan.stages
    ]
    steps = f"{sum(stage.steps for stage in plan.stages):,} steps"
    whole = f"{'all':<15}{'about, on this machine as busy as it is':<{width}}{steps:>15}{duration(plan.seconds):>9}"
    where = next(place for place in (folder.root, *folder.root.parents) if place.is_dir())
    return "\n".join(
        [
            f"into {folder.root} ({state}); nothing was trained or written there",
            *plan.lines,
            "",
            *rows,
            whole,
            "",
            f"memory: about {in_bytes(plan.memory)} {'of the GPU ' if torch.cuda.is_available() else ''}for each of "
            f"at most {plan.processes} trainings at a time",
            f"disk: about {in_bytes(plan.disk)} of weights; {in_bytes(shutil.disk_usage(Path(where)).free)} free",
            *(f"note: {note}" for note in plan.notes),
        ]
    )
