"""The Ray Tune search: one differentiable structure search a trial."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .runtime import per_trial  # first: sets Ray's environment

import optuna  # isort: skip
import torch
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search.optuna import OptunaSearch

from ..config import Config, Objective, Range
from ..errors import SlatError
from ..structure import Structure
from ..training.context import Context
from ..training.loop import DivergedError
from ..training.units import search_trial
from .asha import RungScheduler
from .progress import TrialReporter

# Quality under perturbation and not its ratio to clean quality: a trial that has learnt nothing retains everything.
OBJECTIVES: dict[Objective, str] = {"quality": "max", "params": "min", "quality_perturbed": "max"}
_MEASURES = ("step", "quality", "quality_perturbed", "retained", "params", "atoms", "seconds")
_RECORD = "rungs.jsonl"
_RETRIES = 3  # of a trial whose worker was lost


@dataclass(frozen=True)
class Trial:
    """What became of one trial.

    Attributes:
        number: order of creation, from 0.
        status: ``completed``, ``stopped`` (by the scheduler) or ``failed``.
        sampled: what the sampler chose.
        measures: last report (validation measures, ``params``, ``step``, ``seconds``); empty when failed early.
        history: all reports.
        structure: discretised structure of the last report.
        error: one line, for a failed trial.
    """

    number: int
    status: str
    sampled: dict[str, Any]
    measures: dict[str, Any]
    history: list[dict[str, Any]]
    structure: Structure | None
    error: str | None = None


class FinishedOnlyOptuna(OptunaSearch):
    """Tells the study only what finished trials measured.

    A trial that was stopped early has low-fidelity values; Ray would tell them to a multi-objective study as
    if they were final. Here it is told as pruned, without values.

    Every suggestion carries its ``number`` in order of creation: Ray's own identifiers are random, and its order
    of trials changes on restore. A trial that was lost with the driver is created again with the same number and,
    as the sampler's state was saved with the trials', with the same values.
    """

    def __init__(self, *args: Any, final_step: int = 0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._final_step = final_step
        self._created = 0

    def suggest(self, trial_id: str) -> dict | None:
        suggestion = super().suggest(trial_id)
        if suggestion is None:
            return None
        self._created += 1
        return {**suggestion, "number": self._created - 1}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        finished = result is not None and result.get("step") == self._final_step
        super().on_trial_complete(trial_id, result if finished else None, error)


def rung_steps(config: Config) -> list[int]:
    """Steps at which trials report and are compared; the last step is not among them."""
    steps = config.training.steps
    return sorted({max(1, round(share * steps)) for share in config.search.scheduler.rungs} - {steps})


def trainable(sampled: dict[str, Any], context: Context, stops: list[int], threads: int) -> None:
    """Ray Tune function trainable around :func:`search_trial`."""
    torch.set_num_threads(threads)
    try:
        with closing(search_trial(context, sampled, stops)) as reports:  # a stopped trial leaves the backbone bare
            for report in reports:
                tune.report({**report, "structure": report["structure"].packed()})
    except DivergedError as error:  # a result, not a failure: it must not be tried again
        tune.report({"diverged": str(error)})


def run_search(config: Config, context: Context, folder: Path, say: Callable[[str], None]) -> list[Trial]:
    """Run, or go on with, the search in ``folder`` (its parent holds the run); returns all trials in order.

    Raises:
        SlatError: every trial failed.
    """
    stops = rung_steps(config)
    resources = per_trial(config.resources, config.resources.concurrent_trials)
    trial = tune.with_resources(
        tune.with_parameters(trainable, context=context, stops=stops, threads=int(resources["CPU"])),
        {k.lower(): v for k, v in resources.items()},
    )
    callbacks = [TrialReporter(config.search.trials, config.training.steps, say), JsonLoggerCallback()]
    if tune.Tuner.can_restore(str(folder)):
        say("search: going on where the last run stopped")
        tuner = tune.Tuner.restore(str(folder), trainable=trial, restart_errored=True)
        tuner._local_tuner._run_config.callbacks = callbacks  # Ray has no public way to give them anew
    else:
        shutil.rmtree(folder, ignore_errors=True)
        tuner = tune.Tuner(
            trial,
            tune_config=tune.TuneConfig(
                search_alg=_searcher(config),
                scheduler=_scheduler(config, stops, folder / _RECORD),
                num_samples=config.search.trials,
                max_concurrent_trials=config.resources.concurrent_trials,
                reuse_actors=True,
                trial_name_creator=lambda t: t.trial_id,
                trial_dirname_creator=lambda t: f"trial_{t.trial_id}",
            ),
            run_config=tune.RunConfig(
                name=folder.name,
                storage_path=str(folder.parent),
                callbacks=callbacks,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
            ),
        )
    grid = tuner.fit()
    trials = sorted((_trial(result, config.training.steps) for result in grid), key=lambda t: t.number)
    if all(t.status == "failed" for t in trials):
        raise SlatError(f"search: all {len(trials)} trials failed; the first: {trials[0].error}")
    return trials


def _trial(result: Any, steps: int) -> Trial:
    sampled = dict(result.config or {})
    frame = result.metrics_dataframe
    reports: list[dict[str, Any]] = []
    if frame is not None and "step" in frame:  # a restarted trial reports its first rungs twice
        reports = frame.dropna(subset="step").drop_duplicates("step", keep="last").to_dict("records")
    last = reports[-1] if reports else {}
    history = [{key: report[key] for key in _MEASURES} for report in reports]
    diverged = (result.metrics or {}).get("diverged")
    error = str(result.error).strip().splitlines()[-1] if result.error else diverged
    return Trial(
        number=sampled.pop("number"),
        status="failed" if error else "completed" if last.get("step") == steps else "stopped",
        sampled=sampled,
        measures=history[-1] if history else {},
        history=history,
        structure=Structure.unpack(last["structure"]) if last else None,
        error=error,
    )


def _searcher(config: Config) -> OptunaSearch:
    seed = config.seed
    space = config.search.space
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=min(10, max(3, config.search.trials // 3))
        ),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    distributions: dict[str, Any] = {
        name: _distribution(getattr(space, name))
        for name in ("sparsity", "learning_rate", "gate_learning_rate", "noise_ratio")
    }
    distributions["noise_kind"] = optuna.distributions.CategoricalDistribution(space.noise_kind)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return FinishedOnlyOptuna(
        distributions,
        metric=list(OBJECTIVES),
        mode=list(OBJECTIVES.values()),
        sampler=samplers[config.search.sampler](),
        study_name=config.name,
        final_step=config.training.steps,
    )


def _trial_key(trial: Any) -> str:
    return f"{trial.config['number']:04d}"


def _distribution(value: Range) -> optuna.distributions.FloatDistribution:
    return optuna.distributions.FloatDistribution(value.low, value.high, log=value.log)


def _scheduler(config: Config, stops: list[int], record: Path) -> tune.schedulers.TrialScheduler:
    scheduler = config.search.scheduler
    if scheduler.name == "none":
        return tune.schedulers.FIFOScheduler()
    objectives = {str(name): OBJECTIVES[name] for name in scheduler.objectives}
    return RungScheduler(stops, objectives, scheduler.reduction_factor, record, key=_trial_key)
