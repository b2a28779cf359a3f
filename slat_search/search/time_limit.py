"""Decide when a time limit ends the sampling."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean

from .trial_log import Trial


class TimeLimit:
    """Says whether one more trial fits into the time of a search; the first always does.

    Args:
        seconds: of the whole search.
        concurrent: trials at a time.
        trials: of a search that goes on; what they took counts.
        clock: seconds from any start.
    """

    def __init__(
        self,
        seconds: float,
        concurrent: int,
        trials: Sequence[Trial] = (),
        clock: Callable[[], float] = time.monotonic,
    ):
        self.seconds, self._clock, self._began = seconds, clock, clock()
        self._before = sum(trial.report.seconds for trial in trials if trial.report is not None) / concurrent

    def fits_another(self, trials: Sequence[Trial]) -> bool:
        """Whether a trial that takes as long as those that are over, on average, would end in time."""
        took = [trial.report.seconds for trial in trials if trial.is_over and trial.report is not None]
        return not took or self._before + self._clock() - self._began + fmean(took) <= self.seconds
