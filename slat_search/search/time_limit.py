"""Decide when a time limit ends the sampling of trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean

from .trial_log import Trial


class TimeLimit:
    """Decides whether one more trial fits into the time of a search; the first always does.

    Args:
        seconds: of the whole search.
        concurrent: number of trials that run at the same time.
        trials: of a resumed search; their seconds count.
        clock: returns seconds from any start.
    """

    def __init__(
        self,
        seconds: float,
        concurrent: int,
        trials: Sequence[Trial] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self.seconds, self._clock, self._start = seconds, clock, clock()
        self._earlier_seconds = sum(trial.report.seconds for trial in trials if trial.report is not None) / concurrent

    def fits_another(self, trials: Sequence[Trial]) -> bool:
        """Whether a trial that takes as long as the mean of the finished ones would end in time."""
        durations = [trial.report.seconds for trial in trials if trial.is_over and trial.report is not None]
        return not durations or self._earlier_seconds + self._clock() - self._start + fmean(durations) <= self.seconds
