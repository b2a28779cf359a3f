"""Progress of a whole run: all its stages, and the time that is left."""

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
_EVERY = 60.0  # seconds between two lines where there is no terminal
_WIDTH = 40  # signs of the bar


def is_watched() -> bool:
    """Whether progress lines are shown, in a terminal that is not a CI's."""
    return _log.isEnabledFor(logging.INFO) and sys.stderr.isatty() and not os.environ.get("CI")


class RunProgress:
    """Finished and remaining work of a run in optimizer steps; tests count as steps of equal time.

    Work that was there before, of a run that is resumed, is done but tells nothing of the pace. The pace is that of the
    stage at work. A trial has another one than a training, so during a search the time that is left is that of the
    search.

    Args:
        stages: name -> steps of all its work, about, in order.
        clock: seconds from any start.
    """

    def __init__(self, stages: dict[str, float], clock: Callable[[], float] = time.monotonic):
        self._total = dict(stages)
        self._done: dict[str, dict[str, float]] = {stage: {} for stage in stages}
        self._clock = clock
        self._began = self._since = self._last = clock()  # of the run, of the stage at work, of what was noted last
        self._stage, self._fresh = "", 0.0
        self._lock = threading.Lock()

    def expect(self, stage: str, steps: float) -> None:
        """Update the work of a stage."""
        with self._lock:
            self._total[stage] = steps
            self._done.setdefault(stage, {})  # a stage that was not foreseen

    def note(self, stage: str, work: str, steps: float, fresh: bool = True) -> None:
        """Note how many steps of a piece of work are done, in all; ``fresh`` where this process did them."""
        with self._lock:
            before = self._done.setdefault(stage, {}).get(work, 0.0)
            self._done[stage][work] = max(before, steps)
            if fresh:
                if stage != self._stage:
                    self._stage, self._fresh, self._since = stage, 0.0, self._last
                self._fresh += max(0.0, steps - before)
                self._last = self._clock()

    @property
    def share(self) -> float:
        """Return progress, 0 to 1."""
        with self._lock:
            done = {stage: min(sum(works.values()), self._whole(stage)) for stage, works in self._done.items()}
            whole = sum(map(self._whole, self._done))
        return sum(done.values()) / whole if whole else 0.0

    @property
    def left(self) -> float | None:
        """Return the seconds that the rest takes, of the search while it is at work; None without a pace."""
        with self._lock:
            if not self._fresh:
                return None
            counted = [SEARCH] if self._stage == SEARCH else [*self._done]
            rest = sum(max(0.0, self._whole(stage) - sum(self._done[stage].values())) for stage in counted)
            return rest * (self._clock() - self._since) / self._fresh

    def line(self) -> str:
        """Return the state in one line."""
        left, elapsed = self.left, self._clock() - self._began
        with self._lock:
            stages = [f"{stage} {self._percent(stage)}" for stage in self._total if self._whole(stage)]
            what = " of the search" if self._stage == SEARCH else ""
        rest = "" if left is None else f", about {duration(left)} left{what}"
        return f"{self.share:.0%} of all steps after {duration(elapsed)}{rest} ({', '.join(stages)})"

    def _whole(self, stage: str) -> float:
        return self._total.get(stage, 0.0)

    def _percent(self, stage: str) -> str:
        return f"{min(1.0, sum(self._done[stage].values()) / self._whole(stage)):.0%}"

    def bar(self) -> Group:
        """Return the bar and the line below it."""
        return Group(ProgressBar(total=1.0, completed=self.share, width=_WIDTH), Text(self.line()))

    @contextmanager
    def shown(self, every: float = _EVERY) -> Iterator[None]:
        """Log the line every so many seconds, but where a terminal shows bars."""
        over = threading.Event()

        def tell() -> None:
            while not over.wait(every):
                _log.info(self.line())

        teller = None if is_watched() else threading.Thread(target=tell, daemon=True, name="progress")
        if teller is not None:
            teller.start()
        try:
            yield
        finally:
            over.set()
            if teller is not None:
                teller.join()

    @contextmanager
    def bars(self) -> Iterator[None]:
        """Keep the bar at the bottom of a terminal, below lines of progress."""
        if not is_watched():
            yield
            return
        with Live(get_renderable=self.bar, console=Console(stderr=True), refresh_per_second=1):
            yield


class TrialProgress(Callback):
    """Notes the steps of trials as they report; where some are stopped, the others are expected to be stopped alike.

    Args:
        progress: of the run, an attribute as well.
        total: trials of the search, an attribute as well.
    """

    def __init__(self, progress: RunProgress, total: int):
        self.progress, self.total = progress, total
        self._over: dict[int, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Ray's own restore is not used."""
        return {}

    def resume(self, trials: Sequence[Trial]) -> None:
        """Note the trials of a resumed search."""
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
        """Note that no more trials come."""
        self.progress.expect(SEARCH, sum(self._over.values()))

    def _end(self, number: int, steps: int) -> None:
        self._over[number] = steps
        mean = sum(self._over.values()) / len(self._over)
        self.progress.expect(SEARCH, sum(self._over.values()) + mean * (self.total - len(self._over)))
