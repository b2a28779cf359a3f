"""Progress of a whole run: all its stages, and the remaining time."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from ..analysis.formats import duration
from .trial_log import Trial

_log = logging.getLogger(__name__)
SEARCH = "search"  #: name of the stage of trials
_INTERVAL = 60.0  # seconds between two lines where there is no terminal
_WIDTH = 40  # characters of the bar


def is_watched() -> bool:
    """Whether progress lines are shown, in a terminal that is not a CI's."""
    return _log.isEnabledFor(logging.INFO) and sys.stderr.isatty() and not os.environ.get("CI")


class RunProgress:
    """Finished and remaining work of a run in optimizer steps; tests count as steps of equal time.

    Work done before a run was resumed counts as done, but not for the pace. The pace is that of the current stage.
    Trials and trainings have different ones, so during a search the remaining time is that of the search.

    Args:
        stages: name -> estimated steps of all its work, in order.
        clock: returns seconds from any start.
    """

    def __init__(self, stages: dict[str, float], clock: Callable[[], float] = time.monotonic):
        self._totals = dict(stages)
        self._done: dict[str, dict[str, float]] = {stage: {} for stage in stages}
        self._clock = clock
        # of the run, of the current stage, of the last note
        self._start = self._stage_start = self._last_note = clock()
        self._stage, self._new_steps = "", 0.0
        self._lock = threading.Lock()

    def expect(self, stage: str, steps: float) -> None:
        """Update the estimated steps of a stage."""
        with self._lock:
            self._totals[stage] = steps
            self._done.setdefault(stage, {})  # a stage that was not foreseen

    def note(self, stage: str, work: str, steps: float, fresh: bool = True) -> None:
        """Record the total of steps done of a piece of work; ``fresh`` where this process did them."""
        with self._lock:
            previous = self._done.setdefault(stage, {}).get(work, 0.0)
            self._done[stage][work] = max(previous, steps)
            if fresh:
                if stage != self._stage:
                    self._stage, self._new_steps, self._stage_start = stage, 0.0, self._last_note
                self._new_steps += max(0.0, steps - previous)
                self._last_note = self._clock()

    @property
    def share(self) -> float:
        """Return the fraction of all steps that is done, 0 to 1."""
        with self._lock:
            done = {stage: min(sum(works.values()), self._total(stage)) for stage, works in self._done.items()}
            total = sum(map(self._total, self._done))
        return sum(done.values()) / total if total else 0.0

    @property
    def left(self) -> float | None:
        """Return the estimated remaining seconds, of the search alone while it runs; None without a pace."""
        with self._lock:
            if not self._new_steps:
                return None
            stages = [SEARCH] if self._stage == SEARCH else [*self._done]
            remaining = sum(max(0.0, self._total(stage) - sum(self._done[stage].values())) for stage in stages)
            return remaining * (self._clock() - self._stage_start) / self._new_steps

    def line(self) -> str:
        """Return the progress in one line."""
        left, elapsed = self.left, self._clock() - self._start
        with self._lock:
            stages = [f"{stage} {self._percent(stage)}" for stage in self._totals if self._total(stage)]
            scope = " of the search" if self._stage == SEARCH else ""
        forecast = "" if left is None else f", about {duration(left)} left{scope}"
        return f"{self.share:.0%} of all steps after {duration(elapsed)}{forecast} ({', '.join(stages)})"

    def _total(self, stage: str) -> float:
        return self._totals.get(stage, 0.0)

    def _percent(self, stage: str) -> str:
        return f"{min(1.0, sum(self._done[stage].values()) / self._total(stage)):.0%}"

    def bar(self) -> Group:
        """Return the bar and the line below it."""
        return Group(ProgressBar(total=1.0, completed=self.share, width=_WIDTH), Text(self.line()))

    @contextmanager
    def shown(self, every: float = _INTERVAL) -> Iterator[None]:
        """Log the line every ``every`` seconds, except where a terminal shows the bar."""
        stop = threading.Event()

        def log_lines() -> None:
            while not stop.wait(every):
                _log.info(self.line())

        thread = None if is_watched() else threading.Thread(target=log_lines, daemon=True, name="progress")
        if thread is not None:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if thread is not None:
                thread.join()

    @contextmanager
    def bars(self) -> Iterator[None]:
        """Show the bar at the bottom of a terminal, below lines of progress."""
        if not is_watched():
            yield
            return
        with Live(get_renderable=self.bar, console=Console(stderr=True), refresh_per_second=1):
            yield


class TrialProgress(Callback):
    """Records the steps of trials as they report; remaining trials are expected to take as many as finished ones.

    Args:
        progress: of the run, an attribute as well.
        total: number of trials of the search, an attribute as well.
    """

    def __init__(self, progress: RunProgress, total: int):
        self.progress, self.total = progress, total
        self._finished_steps: dict[int, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Ray's own restore is not used."""
        return {}

    def resume(self, trials: Sequence[Trial]) -> None:
        """Record the trials of a resumed search."""
        for trial in trials:
            if trial.report is not None:
                self.progress.note(SEARCH, str(trial.number), trial.report.step, fresh=False)
            if trial.is_over:
                self._end(trial.number, trial.report.step if trial.report is not None else 0)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if "step" in result:
            self.progress.note(SEARCH, str(trial.config["number"]), result["step"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._end(trial.config["number"], (trial.last_result or {}).get("step", 0))

    def close(self) -> None:
        """Record that there are no further trials."""
        self.progress.expect(SEARCH, sum(self._finished_steps.values()))

    def _end(self, number: int, steps: int) -> None:
        self._finished_steps[number] = steps
        mean = sum(self._finished_steps.values()) / len(self._finished_steps)
        self.progress.expect(
            SEARCH, sum(self._finished_steps.values()) + mean * (self.total - len(self._finished_steps))
        )
