"""The Ray Tune search: each trial is one differentiable structure search."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from .runtime import Share, share  # first: sets Ray's environment

from ray import tune  # isort: skip

from ..analysis.formats import duration
from ..config import Config, Objective
from ..errors import SlatError
from ..redaction import redact
from ..training.context import Context
from ..training.loop import DivergedError
from ..training.memory import OutOfMemoryError, in_micro_batches_that_fit
from ..training.trial import search_trial
from .asha import RungScheduler
from .checkpoints import (
    CheckpointCleanup,
    Storage,
    checkpoint_for,
    resume_state,
    trial_name,
)
from .live_table import LiveTable
from .overall import RunProgress, TrialProgress, is_watched
from .progress import TrialReporter
from .pulse import heartbeat
from .sampler import OptunaSearcher, unfinished_trials
from .space import SearchSpace
from .time_limit import TimeLimit
from .trackers import trackers
from .trial_log import Trial, TrialLog
from .warm_start import warm_start_trials
from .watchdog import TrialWatchdog, Watchdog

_log = logging.getLogger(__name__)
# Quality under perturbation and not its ratio to clean quality: a trial that has learned nothing retains everything.
OBJECTIVES: dict[Objective, str] = {"quality": "max", "params": "min", "quality_perturbed": "max"}
_RETRIES = 3  # of a trial whose worker was lost


def rung_steps(config: Config) -> list[int]:
    """Return the steps at which trials report and are compared, without the last step."""
    steps = config.training.steps
    return sorted({max(1, round(fraction * steps)) for fraction in config.search.scheduler.rungs} - {steps})


def expected_steps(config: Config) -> float:
    """Return the expected number of steps of a trial.

    Where weak trials are stopped, one in ``reduction_factor`` passes each rung.
    """
    scheduler, expected, fraction, previous = config.search.scheduler, 0.0, 1.0, 0
    for stop in (*rung_steps(config), config.training.steps):
        expected += fraction * (stop - previous)
        previous = stop
        fraction /= scheduler.reduction_factor if scheduler.name == "asha" else 1
    return expected


def trainable(
    sampled: dict[str, Any],
    context: Context,
    stops: list[int],
    resources: Share,
    checkpoints: dict[int, bytes],
    save_checkpoints: bool,
    key: str,
) -> None:
    """Run :func:`search_trial` as a function trainable of Ray Tune.

    It saves a checkpoint with each report if ``save_checkpoints`` is set, and writes heartbeats under ``key`` followed
    by the trial's name.
    """
    resources.take()
    number, training = sampled["number"], context.config.training

    def attempt(accumulation: int) -> Generator[dict[str, Any]]:
        return search_trial(context, sampled, stops, resume_state(number, checkpoints), accumulation)

    try:
        reports = in_micro_batches_that_fit(training.batch_size, attempt, training.accumulation)
        heartbeats = heartbeat(context.frozen.model, f"{key}{trial_name(number)}")
        with heartbeats, closing(reports):  # closing a stopped trial removes its supernet from the backbone
            for report in reports:
                report.pop("state", None)
                state = report.pop("checkpoint", None)
                with checkpoint_for(number, state if save_checkpoints else None) as checkpoint:
                    tune.report({**report, "structure": report["structure"].packed()}, checkpoint=checkpoint)
    except (DivergedError, OutOfMemoryError) as error:  # a result, not a failure: it must not be tried again
        tune.report({"diverged": str(error)})


def run_search(
    context: Context,
    folder: Path,
    storage: str | None = None,
    progress: RunProgress | None = None,
    callbacks: Sequence[tune.Callback] = (),
) -> list[Trial]:
    """Run, or resume, the search in ``folder``; return all trials in order of creation.

    The folder holds the trial log, the rungs, and one of Ray's experiment folders for each time that the search was
    started. Ray's own restore is not used; the remaining work follows from the trial log.

    Args:
        storage: where trials store checkpoints, see :class:`.Storage`; by default in ``folder``, on one node.
        progress: of the whole run, in which the steps of trials are recorded.
        callbacks: further callbacks of Ray Tune.

    Raises:
        SlatError: every trial failed, or the storage cannot be written.
    """
    config, ledger, space = context.config, TrialLog(folder / "ledger.jsonl"), SearchSpace.in_context(context)
    if space.trials < config.search.trials:
        _log.info(f"search: the grid has {space.trials} points")
    trial_progress = TrialProgress(progress or RunProgress({}), space.trials)
    trial_progress.resume(ledger.trials)
    limit = None
    if config.search.time_limit is not None:
        limit = TimeLimit(config.search.time_limit, share(config.resources).concurrent, ledger.trials)
    remaining = len(unfinished_trials(ledger, space.trials))
    if limit is not None and not limit.fits_another(ledger.trials):
        remaining = sum(not trial.is_over for trial in ledger.trials)
    if remaining and ledger.trials:
        _log.info(f"search: going on; {space.trials - remaining} of {space.trials} trials are over")
    if remaining:
        searcher = OptunaSearcher(
            ledger,
            space,
            {str(metric): mode for metric, mode in OBJECTIVES.items()},
            last_step=config.training.steps,
            sampler=config.search.sampler,
            seed=config.seed,
            earlier=warm_start_trials(config, space, folder),
            journal=folder / "study.journal",
            limit=limit,
        )
        _run_trials(context, Storage(folder, storage), ledger, searcher, trial_progress, callbacks)
    trial_progress.close()
    trials = ledger.trials
    if limit is not None and len(trials) < space.trials:
        _log.info(f"search: {len(trials)} of {space.trials} trials fit into {duration(limit.seconds)}")
    failures = [trial for trial in trials if trial.status == "failed"]
    if len(failures) == len(trials):
        raise SlatError(f"search: every trial failed ({len(trials)}); the first: {failures[0].error}")
    return trials


def _run_trials(
    context: Context,
    storage: Storage,
    ledger: TrialLog,
    searcher: OptunaSearcher,
    trial_progress: TrialProgress,
    extra_callbacks: Sequence[tune.Callback] = (),
) -> None:
    """Run the remaining trials as one Ray experiment; the ledger records their outcomes."""
    config, total = context.config, trial_progress.total
    resources, stops = share(config.resources), rung_steps(config)
    checkpoints, can_save = _checkpoints(storage, ledger)
    _log.debug(
        f"search: {resources}, rungs at {stops}, checkpoints in {redact(storage.uri) if can_save else 'no place'}"
    )
    live_table = LiveTable(ledger, total, config.training.steps, trial_progress.progress) if is_watched() else None
    watchdog = Watchdog("search", config.resources.patience)
    trial_function = tune.with_parameters(
        trainable,
        context=context,
        stops=stops,
        resources=resources,
        checkpoints=checkpoints,
        save_checkpoints=can_save,
        key=watchdog.key(""),
    )
    tuner = tune.Tuner(
        tune.with_resources(trial_function, {"cpu": resources.cpus, "gpu": resources.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_scheduler(config, stops, ledger.path.with_name("rungs.jsonl")),
            num_samples=len(unfinished_trials(ledger, total)),
            max_concurrent_trials=resources.concurrent,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=f"ray-{1 + storage.experiments}",
            storage_path=storage.uri,
            callbacks=[
                TrialReporter(total, config.training.steps),
                CheckpointCleanup(storage),
                trial_progress,
                TrialWatchdog(watchdog),
                *trackers(config),
                *([live_table] if live_table else []),
                *extra_callbacks,
            ],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            verbose=0,
            progress_reporter=tune.CLIReporter(),  # the one for notebooks displays output there in spite of verbose=0
            failure_config=tune.FailureConfig(max_failures=_RETRIES),
        ),
    )
    with closing(watchdog), closing(live_table) if live_table else nullcontext():
        results = _fit(tuner)
    for result in results:
        if result.error is not None and result.config is not None:
            ledger.over(result.config["number"], "failed", redact(str(result.error).strip().splitlines()[-1]))


def _checkpoints(storage: Storage, ledger: TrialLog) -> tuple[dict[int, bytes], bool]:
    """Return the checkpoints of unfinished trials by number, and whether trials can save checkpoints."""
    unfinished = [trial.number for trial in ledger.trials if not trial.is_over]
    storage.keep_only(unfinished)
    checkpoints = storage.find(unfinished)
    for number, raw in checkpoints.items():
        _log.info(f"trial {number:>2} goes on from its checkpoint")
        _log.debug(f"trial {number:>2}: a checkpoint of {len(raw):,} bytes")
    can_save = storage.is_written_by_all()
    if not can_save:
        _log.warning("search: several nodes and no --storage that all of them reach; a lost trial begins anew")
    return checkpoints, can_save


def _fit(tuner: tune.Tuner) -> tune.ResultGrid:
    """Run the tuner; re-raise our own errors, such as a full disk, that Ray has wrapped."""
    try:
        return tuner.fit()
    except tune.TuneError as error:
        if isinstance(error.__context__, OSError | SlatError):
            raise error.__context__ from error
        raise


def _trial_name(trial: Any) -> str:
    return trial_name(trial.config["number"])


def _scheduler(config: Config, stops: list[int], record: Path) -> tune.schedulers.TrialScheduler:
    scheduler = config.search.scheduler
    if scheduler.name == "none":
        return tune.schedulers.FIFOScheduler()
    objectives = {str(name): {**OBJECTIVES, "quality_worst": "max"}[name] for name in scheduler.objectives}
    return RungScheduler(stops, objectives, scheduler.reduction_factor, record, key=_trial_name)
