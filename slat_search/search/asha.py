"""Asynchronous successive halving on one or several objectives, with rungs that survive a restart.

Ray Tune's own ASHA has one metric, loses its rungs on ``Tuner.restore`` and fills lower rungs with
values of a higher fidelity when a report is skipped. Here a rung holds values measured exactly there,
every record is on disk before its decision is returned, and a trial that is repeated after a crash gets
the same decision again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ..records import Decision


def crowding_distance(values: np.ndarray) -> np.ndarray:
    """Return crowding distances within one front, (n,); infinity for boundary points (Deb et al. 2002)."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = math.inf
        if span > 0 and len(order) > 2:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def best_first(values: np.ndarray) -> list[int]:
    """Return the order of rows (n, objectives; larger is better), best first: by front, then crowding, then age."""
    ranks = moocore.pareto_rank(values, maximise=True)
    order: list[int] = []
    for rank in np.unique(ranks):
        members = np.flatnonzero(ranks == rank)
        distance = crowding_distance(values[members])
        order += [int(members[i]) for i in np.lexsort((members, -distance))]
    return order


class RungScheduler(FIFOScheduler):
    """Stops a trial at a rung unless it is among the best ``1 / reduction_factor`` recorded there so far.

    With one objective this is ASHA in its stopping form (Li et al. 2020, arXiv 1810.05934); with several,
    trials are ordered by non-dominated sorting and crowding distance as in MO-ASHA (Schmucker et al. 2021,
    arXiv 2106.12639), so that sparse trials are not the first to be stopped.

    Args:
        rungs: values of ``time_attr`` at which trials are compared; a result between rungs changes nothing.
        objectives: metric -> ``max`` or ``min``.
        reduction_factor: one in ``reduction_factor`` trials passes a rung.
        record: file (JSON lines) that keeps every record and decision; None keeps them for this process alone.
        time_attr: key of a result's step.
        key: returns the name of a trial in the record, which must stay the same when a lost trial is created again.
    """

    def __init__(
        self,
        rungs: Sequence[int],
        objectives: dict[str, str],
        reduction_factor: float,
        record: str | Path | None,
        time_attr: str = "step",
        key: Callable[[Trial], str] = lambda trial: trial.trial_id,
    ):
        super().__init__()
        if reduction_factor <= 1 or not objectives or set(objectives.values()) - {"max", "min"}:
            raise ValueError("reduction_factor must be above 1 and every objective max or min")
        self._rungs = frozenset(rungs)
        self._objectives = objectives
        self._reduction_factor = reduction_factor
        self._record_path = None if record is None else Path(record)
        self._time_attr = time_attr
        self._key = key
        self._records: dict[int, dict[str, tuple[list[float], str]]] | None = None

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True  # objectives are set in __init__; a metric in TuneConfig is not needed

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if not all(metric in result for metric in self._objectives):
            return TrialScheduler.STOP  # a diverged trial, which has nothing to compare
        step = result[self._time_attr]
        if step not in self._rungs:
            return TrialScheduler.CONTINUE
        return self.decide(self._key(trial), step, result)

    def decide(self, trial: str, step: int, result: dict[str, Any]) -> str:
        """Record ``result`` at rung ``step``; return whether to continue."""
        rung = self._read_records().setdefault(step, {})
        if trial in rung:
            return rung[trial][1]
        values = [
            float(result[metric]) if mode == "max" else -float(result[metric])
            for metric, mode in self._objectives.items()
        ]
        if not all(map(math.isfinite, values)):
            return TrialScheduler.STOP
        table = np.array([*(v for v, _ in rung.values()), values])
        position = best_first(table).index(len(table) - 1)
        continues = position < math.ceil(len(table) / self._reduction_factor)
        decision = TrialScheduler.CONTINUE if continues else TrialScheduler.STOP
        rung[trial] = (values, decision)
        if self._record_path is not None:
            Decision(trial=trial, step=step, values=values, decision=decision).append(self._record_path)
        return decision

    def _read_records(self) -> dict[int, dict[str, tuple[list[float], str]]]:
        if self._records is None:
            self._records = {}
            for decision in Decision.read_lines(self._record_path) if self._record_path is not None else ():
                self._records.setdefault(decision.step, {})[decision.trial] = (decision.values, decision.decision)
        return self._records

    def debug_string(self) -> str:
        counts = {step: len(rung) for step, rung in sorted(self._read_records().items())}
        return f"RungScheduler: records per rung {counts}"
