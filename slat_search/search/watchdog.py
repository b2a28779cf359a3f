"""Limit every wait: end workers without a heartbeat, and log long waits."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from ..analysis.formats import duration
from .checkpoints import trial_name
from .processes import busy_workers
from .pulse import Heartbeat, end_worker, read_heartbeat, remove_heartbeats, this_node

_log = logging.getLogger(__name__)
_MIN_PATIENCE = 600.0  # seconds without a heartbeat, by default
_PAUSE_FACTOR = 50.0  # times the longest pause so far
_FIRST_PATIENCE = 1800.0  # seconds to the first heartbeat: a large model is moved, and its weights are decomposed
_INTERVAL = 2.0  # seconds between two checks
_LOG_INTERVAL = 300.0  # seconds without news, after which pending work is logged
_MAX_NAMES = 5


class Watchdog:
    """Ends workers that have stopped sending heartbeats, so that their work is retried.

    Args:
        stage: name of the stage, for messages.
        patience: seconds that a worker may be without a heartbeat; by default ten minutes, or 50 times its longest
            pause so far if that is more, and half an hour to the first one.
        clock, read, end: return seconds from any start; return the last heartbeat under a key; end a worker.
        busy: returns the processes of workers that have work, with or without heartbeats, as far as they are visible
            here.
    """

    def __init__(
        self,
        stage: str,
        patience: float | None,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[str], Heartbeat | None] = read_heartbeat,
        end: Callable[[Heartbeat], bool] = end_worker,
        busy: Callable[[], Collection[int]] = busy_workers,
    ):
        self._stage, self._patience = stage, patience
        self._clock, self._read, self._end, self._busy = clock, read, end, busy
        self._started: set[int] = set()  # processes that have sent a heartbeat
        self._silent_since: dict[int, float] = {}  # other processes -> when they were first seen
        self._run = uuid.uuid4().hex
        self._last_signs: dict[str, tuple[Heartbeat, float]] = {}  # name -> its last heartbeat, and when it arrived
        self._ended_signs: dict[str, Heartbeat] = {}
        self._last_check = float("-inf")
        self._last_news = clock()

    def key(self, name: str) -> str:
        """Return the key under which a worker writes its heartbeats."""
        return f"{self._run}/{name}"

    def note_progress(self) -> None:
        """Record that the user has seen progress."""
        self._last_news = self._clock()

    def check(self, waiting: Collection[str], pending: int = 0) -> None:
        """End workers without a heartbeat, and log from time to time what is pending.

        Args:
            waiting: names of the work that workers have.
            pending: number of further jobs or trials without a worker.
        """
        now = self._clock()
        if now - self._last_check < _INTERVAL:
            return
        self._last_check = now
        for name in waiting:
            self._check_worker(name, now)
        self._check_silent_workers(now)
        if now - self._last_news >= _LOG_INTERVAL:
            self._last_news = now
            _log.info(f"{self._stage}: waiting for {self._description(waiting, pending, now)}")

    def close(self) -> None:
        """Remove all heartbeats."""
        remove_heartbeats(self._run)

    def _check_worker(self, name: str, now: float) -> None:
        sign = self._read(self.key(name))
        if sign is None or sign == self._ended_signs.get(name):
            return
        self._started.add(sign.process)
        if name not in self._last_signs or self._last_signs[name][0] != sign:
            self._last_signs[name] = sign, now
            return
        silence = now - self._last_signs[name][1]
        if silence < self._limit(sign):
            return
        self._ended_signs[name] = sign
        del self._last_signs[name]
        if self._end(sign):
            _log.warning(
                f"{self._stage}: no step of {name} for {duration(silence)}; its worker (process {sign.process} on "
                f"{sign.host}) is ended, and it is tried again"
            )
            self.note_progress()

    def _check_silent_workers(self, now: float) -> None:
        """End workers that have work but never sent a heartbeat: they hang before it begins."""
        busy = set(self._busy()) - self._started
        self._silent_since = {process: self._silent_since.get(process, now) for process in busy}
        patience = self._patience or _FIRST_PATIENCE
        for process, start in self._silent_since.items():
            if now - start >= patience and self._end(Heartbeat(0, 0.0, process, this_node(), "")):
                self._started.add(process)
                _log.warning(
                    f"{self._stage}: a worker (process {process}) has not begun for {duration(now - start)}; it is "
                    "ended, and its work is tried again"
                )
                self.note_progress()

    def _limit(self, sign: Heartbeat) -> float:
        if self._patience is not None:
            return self._patience
        return max(_MIN_PATIENCE, _PAUSE_FACTOR * sign.slowest) if sign.count else _FIRST_PATIENCE

    def _description(self, waiting: Collection[str], pending: int, now: float) -> str:
        items = []
        for name in list(waiting)[:_MAX_NAMES]:
            entry = self._last_signs.get(name)
            items.append(
                f"{name} ({f'last step {duration(now - entry[1])} ago' if entry else 'no worker is free yet'})"
            )
        remaining = len(waiting) - len(items) + pending
        if remaining or not items:
            items.append(f"{remaining} more that have no worker yet")
        return ", ".join(items)


class TrialWatchdog(tune.Callback):
    """Watches the workers of trials; Ray resumes a trial whose worker was ended from its last checkpoint."""

    def __init__(self, watchdog: Watchdog):
        self._watchdog = watchdog

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Ray's own restore is not used."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        running = [trial_name(trial.config["number"]) for trial in trials if trial.status == Trial.RUNNING]
        self._watchdog.check(running, sum(trial.status == Trial.PENDING for trial in trials))

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._watchdog.note_progress()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self._watchdog.note_progress()
