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
_LEAST = 600.0  # seconds without a sign of life, where the configuration says nothing
_TIMES = 50.0  # the longest pause so far
_FIRST = 1800.0  # seconds to the first sign: a large model is moved, and its weights are decomposed
_EVERY = 2.0  # seconds between two looks
_SILENCE = 300.0  # seconds without news, after which pending work is logged
_NAMED = 5


class Watchdog:
    """Looks after workers whose results are waited for.

    Args:
        stage: what is done, for messages.
        patience: seconds that a worker may be without a sign of life; by default ten minutes, or 50 times its longest
            pause so far if that is more, and half an hour to the first one.
        clock, read, end: seconds from any start; the last sign under a key; what ends a worker.
        busy: processes of workers that were given work, signs or not, as far as that can be seen from here.
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
        self._begun: set[int] = set()  # processes that have left a sign
        self._silent: dict[int, float] = {}  # others -> when they were seen first
        self._run = uuid.uuid4().hex
        self._seen: dict[str, tuple[Heartbeat, float]] = {}  # name -> the last sign, and when it was new
        self._ended: dict[str, Heartbeat] = {}
        self._looked = float("-inf")
        self._news = clock()

    def key(self, name: str) -> str:
        """Return the key under which a worker leaves its signs of life."""
        return f"{self._run}/{name}"

    def note_progress(self) -> None:
        """Record that the user was told something."""
        self._news = self._clock()

    def check(self, waiting: Collection[str], pending: int = 0) -> None:
        """End workers without a heartbeat, and log from time to time what is pending.

        Args:
            waiting: names of work that was given to workers.
            pending: how much more has no worker yet.
        """
        now = self._clock()
        if now - self._looked < _EVERY:
            return
        self._looked = now
        for name in waiting:
            self._look_after(name, now)
        self._look_for_silent(now)
        if now - self._news >= _SILENCE:
            self._news = now
            _log.info(f"{self._stage}: waiting for {self._words(waiting, pending, now)}")

    def close(self) -> None:
        """Forget all signs of life."""
        remove_heartbeats(self._run)

    def _look_after(self, name: str, now: float) -> None:
        sign = self._read(self.key(name))
        if sign is None or sign == self._ended.get(name):
            return
        self._begun.add(sign.process)
        if name not in self._seen or self._seen[name][0] != sign:
            self._seen[name] = sign, now
            return
        quiet = now - self._seen[name][1]
        if quiet < self._limit(sign):
            return
        self._ended[name] = sign
        del self._seen[name]
        if self._end(sign):
            _log.warning(
                f"{self._stage}: no step of {name} for {duration(quiet)}; its worker (process {sign.process} on "
                f"{sign.host}) is ended, and it is tried again"
            )
            self.note_progress()

    def _look_for_silent(self, now: float) -> None:
        """End workers that got work and never sent a heartbeat: they hang before it begins."""
        busy = set(self._busy()) - self._begun
        self._silent = {process: self._silent.get(process, now) for process in busy}
        for process, since in self._silent.items():
            if now - since >= (self._patience or _FIRST) and self._end(Heartbeat(0, 0.0, process, this_node(), "")):
                self._begun.add(process)
                _log.warning(
                    f"{self._stage}: a worker (process {process}) has not begun for {duration(now - since)}; it is "
                    "ended, and its work is tried again"
                )
                self.note_progress()

    def _limit(self, sign: Heartbeat) -> float:
        if self._patience is not None:
            return self._patience
        return max(_LEAST, _TIMES * sign.slowest) if sign.count else _FIRST

    def _words(self, waiting: Collection[str], pending: int, now: float) -> str:
        told = []
        for name in list(waiting)[:_NAMED]:
            seen = self._seen.get(name)
            told.append(f"{name} ({f'last step {duration(now - seen[1])} ago' if seen else 'no worker is free yet'})")
        more = len(waiting) - len(told) + pending
        if more or not told:
            told.append(f"{more} more that have no worker yet")
        return ", ".join(told)


class TrialWatchdog(tune.Callback):
    """Looks after the workers of trials; Ray gives a trial whose worker was ended its last checkpoint."""

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
