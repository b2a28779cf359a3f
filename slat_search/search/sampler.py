"""Optuna as a Ray Tune searcher that resumes exactly.

Ray's ``OptunaSearch`` tells a multi-objective study the values of an early-stopped trial as if they were final, leaves
a trial with NaN running forever, and can only resume from a snapshot of Ray's. Here the ledger holds everything, and
each suggestion follows from the seed, the trial's number and the finished trials alone.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search import Searcher

from .space import SearchSpace
from .time_limit import TimeLimit
from .trial_log import Trial, TrialLog


def _startup(trials: int) -> int:
    """Return the number of random trials before a model is fitted: a third of the search, 3 to 10."""
    return min(10, max(3, trials // 3))


def _population(trials: int) -> int:
    """Return the trials of a generation: a quarter of the search, 4 to 50.

    With Optuna's default of 50 most searches would end before the second generation, and be random.
    """
    return min(50, max(4, trials // 4))


#: name -> sampler for (seed, trials of the search)
SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "tpe": lambda seed, trials: TPESampler(seed=seed, n_startup_trials=_startup(trials)),
    "nsga2": lambda seed, trials: NSGAIISampler(seed=seed, population_size=_population(trials)),
    "nsga3": lambda seed, trials: NSGAIIISampler(seed=seed, population_size=_population(trials)),
    "gp": lambda seed, trials: GPSampler(seed=seed, n_startup_trials=_startup(trials), deterministic_objective=False),
    "random": lambda seed, trials: RandomSampler(seed=seed),
    # `SearchSpace` plans every point of these beforehand
    "sobol": lambda seed, trials: RandomSampler(seed=seed),
    "grid": lambda seed, trials: RandomSampler(seed=seed),
}
_STRIDE = 1_000_003  # a prime above the trials of any run, so that runs with different seeds share no seed of a trial


class OptunaSearcher(Searcher):
    """Suggests trials by an Optuna sampler and writes their reports and outcomes into a ledger.

    The study is told the values of trials that ran to their last step. Others count as pruned: their values are of
    another fidelity. A suggestion has the trial's ``number`` beside the sampled values.

    Args:
        ledger: trials so far; unfinished ones are suggested again first, with their old values.
        space: distributions, the number of trials, and the points of the first trials; values that a point leaves out
            are sampled.
        objectives: metric -> ``max`` or ``min``.
        last_step: last step of a full trial.
        sampler: key of ``SAMPLERS``.
        seed: of the search.
        earlier: finished trials of other searches to learn from.
        limit: time limit of the search; None for no limit.
        journal: file that mirrors the study for ``optuna-dashboard`` and other tools; overwritten, never read.
    """

    def __init__(
        self,
        ledger: TrialLog,
        space: SearchSpace,
        objectives: Mapping[str, str],
        last_step: int,
        sampler: str,
        seed: int,
        earlier: Sequence[Trial] = (),
        journal: Path | None = None,
        limit: TimeLimit | None = None,
    ):
        super().__init__()
        optuna.logging.set_verbosity(logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # journal, NSGA-III
        self._ledger, self._limit = ledger, limit
        self._space = space.distributions
        self._objectives = dict(objectives)
        self._last_step = last_step
        self._initial_points = space.points
        self._sampler: Callable[[int], BaseSampler] = lambda number: SAMPLERS[sampler](
            (seed * _STRIDE + number) % 2**32, space.trials
        )
        self._queue = unfinished_trials(ledger, space.trials)
        self._running: dict[str, tuple[int, optuna.Trial | None]] = {}
        self._earlier_trials = earlier
        self._mirror = None if journal is None else self._study(RandomSampler(), _empty_storage(journal))

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True  # everything is set in __init__

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self._queue:
            return None
        if self._queue[0][1] is None and self._limit and not self._limit.fits_another(self._ledger.trials):
            self._queue.clear()
            return Searcher.FINISHED
        number, trial = self._queue.pop(0)
        if trial is None:
            trial = self._sample(number)
        mirror_trial = None
        if self._mirror is not None:
            self._mirror.enqueue_trial(trial.sampled)
            mirror_trial = self._mirror.ask(self._space)
        self._running[trial_id] = number, mirror_trial
        self._ledger.created(number, trial.sampled, trial.attributes)
        return {**trial.sampled, "number": number}

    def _sample(self, number: int) -> Trial:
        """Return a new trial with the sampler's suggestion.

        The study is created anew each time: evolutionary samplers store their state at the start of a generation in it,
        which a resumed search could not know.
        """
        study = self._study(self._sampler(number))
        if number < len(self._initial_points):
            study.enqueue_trial(self._initial_points[number])
        trial = study.ask(self._space)
        attributes = study.get_trials(deepcopy=False)[trial.number].system_attrs
        return Trial(number, trial.params, attributes=dict(attributes))

    def _study(self, sampler: BaseSampler, storage: BaseStorage | None = None) -> optuna.Study:
        """Create a study with the finished trials."""
        study = optuna.create_study(
            study_name="search",
            directions=["maximize" if mode == "max" else "minimize" for mode in self._objectives.values()],
            sampler=sampler,
            storage=storage,
        )
        study.set_metric_names(list(self._objectives))
        study.add_trials([self._frozen_trial(trial) for trial in (*self._earlier_trials, *self._ledger.ended)])
        return study

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "diverged" not in result:
            self._ledger.reported(self._running[trial_id][0], _with_nested_tasks(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number, trial = self._running.pop(trial_id)
        result = _with_nested_tasks(result or {})
        if "step" in result:
            self._ledger.reported(number, result)
        self._ledger.over(number, self._status(result, error), str(result.get("diverged", "")))
        if self._mirror is not None and trial is not None:
            frozen = self._frozen_trial(self._ledger[number])
            for name, value in frozen.user_attrs.items():
                trial.set_user_attr(name, value)
            self._mirror.tell(trial, frozen.values, state=frozen.state)

    def _status(self, result: dict[str, Any], error: bool) -> str:
        if error:
            return "failed"
        if "diverged" in result:
            return "diverged"
        return "completed" if result.get("step") == self._last_step else "stopped"

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new searcher reads the ledger."""

    def _frozen_trial(self, trial: Trial) -> FrozenTrial:
        is_completed = trial.status == "completed"
        return create_trial(
            params=trial.sampled,
            distributions=self._space,
            values=[getattr(trial.measures, metric) for metric in self._objectives] if is_completed else None,
            state={"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}.get(trial.status, TrialState.FAIL),
            system_attrs=trial.attributes,
            user_attrs=_user_attributes(trial),
        )


def _user_attributes(trial: Trial) -> dict[str, Any]:
    """Return the attributes of a trial in the study, beside its values."""
    description = {"structure": trial.structure.describe()} if trial.structure is not None else {}
    return {
        **({"number": trial.number} if trial.number >= 0 else {"earlier": True}),
        "status": trial.status,
        **description,
    }


def _empty_storage(journal: Path) -> BaseStorage:
    """Return an empty storage in a file; a lock file of a killed process is removed."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    for path in journal.parent.glob(f"{journal.name}*"):
        path.unlink()
    return JournalStorage(JournalFileBackend(str(journal)))


def unfinished_trials(ledger: TrialLog, trials: int) -> list[tuple[int, Trial | None]]:
    """Return the numbers of unfinished trials, each with its trial; None for one that has not started."""
    started_trials: Sequence[Trial] = ledger.trials
    unfinished = [(trial.number, trial) for trial in started_trials if not trial.is_over]
    return [*unfinished, *((number, None) for number in range(len(started_trials), trials))]


def _with_nested_tasks(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with the measures of each task nested under ``tasks`` and its name.

    Ray flattens the reports for searchers: it joins the names of nested values by slashes, which task names may contain
    too.
    """
    nested: dict[str, Any] = {}
    for name, value in result.items():
        if name.startswith("tasks/"):
            task, _, measure = name.removeprefix("tasks/").rpartition("/")
            nested.setdefault("tasks", {}).setdefault(task, {})[measure] = value
        else:
            nested[name] = value
    return nested
