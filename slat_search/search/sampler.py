"""Optuna as a Ray Tune searcher that resumes exactly.

Ray's ``OptunaSearch`` tells a multi-objective study the values of an early-stopped trial as if they were final, leaves
a trial with NaN running for ever, and can only go on from a snapshot of Ray's. Here the ledger holds everything, and
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
    """Random trials before a model is fitted: a third of the search, 3 to 10."""
    return min(10, max(3, trials // 3))


def _population(trials: int) -> int:
    """Trials of a generation: a quarter of the search, 4 to 50. With Optuna's own 50 most searches would end before the
    second one, and be random."""
    return min(50, max(4, trials // 4))


#: name -> sampler for (seed, trials of the search)
SAMPLERS: dict[str, Callable[[int, int], BaseSampler]] = {
    "tpe": lambda seed, trials: TPESampler(seed=seed, n_startup_trials=_startup(trials)),
    "nsga2": lambda seed, trials: NSGAIISampler(seed=seed, population_size=_population(trials)),
    "nsga3": lambda seed, trials: NSGAIIISampler(seed=seed, population_size=_population(trials)),
    "gp": lambda seed, trials: GPSampler(seed=seed, n_startup_trials=_startup(trials), deterministic_objective=False),
    "random": lambda seed, trials: RandomSampler(seed=seed),
    # of these every value is given beforehand, see `SearchSpace`
    "sobol": lambda seed, trials: RandomSampler(seed=seed),
    "grid": lambda seed, trials: RandomSampler(seed=seed),
}
_STRIDE = 1_000_003  # a prime: seeds of different runs meet in no trial number that a run reaches


class OptunaSearcher(Searcher):
    """Suggests trials by an Optuna sampler and writes what becomes of them into a ledger.

    The study is told the values of trials that ran to their last step. Others count as pruned: their values are of
    another fidelity. A suggestion carries its ``number`` beside the sampled values.

    Args:
        ledger: trials so far; those that are not over are suggested again, first, with their old values.
        space: what is sampled, how many trials the whole search has, and what the first of them take; what a point
            leaves out is sampled.
        objectives: metric -> ``max`` or ``min``.
        last_step: step of a trial that ran to its end.
        sampler: key of ``SAMPLERS``.
        seed: of the search.
        earlier: finished trials of other searches to learn from.
        limit: on the time of the search; None for none.
        journal: file that mirrors the study for ``optuna-dashboard`` and the like; written anew, never read.
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
        self._points = space.points
        self._sampler: Callable[[int], BaseSampler] = lambda number: SAMPLERS[sampler](
            (seed * _STRIDE + number) % 2**32, space.trials
        )
        self._todo = unfinished_trials(ledger, space.trials)
        self._running: dict[str, tuple[int, optuna.Trial | None]] = {}
        self._earlier = earlier
        self._mirror = None if journal is None else self._study(RandomSampler(), _anew(journal))

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True  # everything is given at construction

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self._todo:
            return None
        if self._todo[0][1] is None and self._limit and not self._limit.fits_another(self._ledger.trials):
            self._todo.clear()
            return Searcher.FINISHED
        number, known = self._todo.pop(0)
        if known is None:
            known = self._new(number)
        mirrored = None
        if self._mirror is not None:
            self._mirror.enqueue_trial(known.sampled)
            mirrored = self._mirror.ask(self._space)
        self._running[trial_id] = number, mirrored
        self._ledger.created(number, known.sampled, known.attributes)
        return {**known.sampled, "number": number}

    def _new(self, number: int) -> Trial:
        """A trial as the sampler has it.

        The study is made anew each time: evolutionary samplers keep in it what was true when a generation began, which
        a search that goes on could not know.
        """
        study = self._study(self._sampler(number))
        if number < len(self._points):
            study.enqueue_trial(self._points[number])
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
        study.add_trials([self._frozen(trial) for trial in (*self._earlier, *self._ledger.ended)])
        return study

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if "diverged" not in result:
            self._ledger.reported(self._running[trial_id][0], _nested(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number, trial = self._running.pop(trial_id)
        result = _nested(result or {})
        if "step" in result:
            self._ledger.reported(number, result)
        self._ledger.over(number, self._status(result, error), str(result.get("diverged", "")))
        if self._mirror is not None and trial is not None:
            frozen = self._frozen(self._ledger[number])
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

    def _frozen(self, trial: Trial) -> FrozenTrial:
        completed = trial.status == "completed"
        return create_trial(
            params=trial.sampled,
            distributions=self._space,
            values=[getattr(trial.measures, metric) for metric in self._objectives] if completed else None,
            state={"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}.get(trial.status, TrialState.FAIL),
            system_attrs=trial.attributes,
            user_attrs=_described(trial),
        )


def _described(trial: Trial) -> dict[str, Any]:
    """Return the attributes of a trial in the study, beside its values."""
    description = {"structure": trial.structure.describe()} if trial.structure is not None else {}
    return {
        **({"number": trial.number} if trial.number >= 0 else {"earlier": True}),
        "status": trial.status,
        **description,
    }


def _anew(journal: Path) -> BaseStorage:
    """An empty storage in a file; a killed process may have left the lock beside it."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    for path in journal.parent.glob(f"{journal.name}*"):
        path.unlink()
    return JournalStorage(JournalFileBackend(str(journal)))


def unfinished_trials(ledger: TrialLog, trials: int) -> list[tuple[int, Trial | None]]:
    """Return the numbers of unfinished trials, with the trial if begun."""
    begun: Sequence[Trial] = ledger.trials
    known = [(trial.number, trial) for trial in begun if not trial.is_over]
    return [*known, *((number, None) for number in range(len(begun), trials))]


def _nested(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with the measures of each task under its name again; Ray gives searchers all names of a report
    with their parents' before them, joined by slashes, which names of tasks may hold, too."""
    nested: dict[str, Any] = {}
    for name, value in result.items():
        if name.startswith("tasks/"):
            task, _, measure = name.removeprefix("tasks/").rpartition("/")
            nested.setdefault("tasks", {}).setdefault(task, {})[measure] = value
        else:
            nested[name] = value
    return nested
