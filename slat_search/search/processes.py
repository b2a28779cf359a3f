"""The processes of a Ray of our own, so that none of them outlives it: agents wait a minute for a GCS that is gone."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

_BY_THEMSELVES = 3.0  # seconds that processes have to end in after a shutdown
#: titles of workers with a task or an actor, which are not those of Ray's agents
_BUSY = re.compile(rb"ray::(_train|_evaluate|ImplicitFunc)")
#: number of a process, and when it started: numbers are given again
Process = tuple[int, str]


class Processes:
    """What the block of :meth:`begun` started, and what that started in turn; where there is no ``/proc``, nothing."""

    at_work: ClassVar[list[Processes]] = []

    def __init__(self) -> None:
        self._known: set[Process] = set()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Take all that this process starts in the block."""
        before = _below({os.getpid()})
        try:
            yield
        finally:
            self._known |= _below({os.getpid()}) - before
            self.at_work.append(self)

    def refresh(self) -> None:
        """Add their new descendants, which cannot be found once they are gone."""
        self._known |= _below({number for number, _ in self._living()})

    def end(self) -> None:
        """Kill those that have not ended by themselves after a moment."""
        self.at_work.remove(self)
        deadline = time.monotonic() + _BY_THEMSELVES
        while self._living() and time.monotonic() < deadline:
            time.sleep(0.05)
        for number, _ in self._living():
            with suppress(OSError):
                os.kill(number, signal.SIGKILL)

    def busy(self) -> set[int]:
        """Return the workers that have a task or an actor."""
        return {number for number, _ in _below({number for number, _ in self._known}) if _BUSY.match(_title(number))}

    def _living(self) -> set[Process]:
        return {process for process in self._known if process in _started([process[0]])}


def busy_workers() -> set[int]:
    """Return the workers of a Ray of our own that have been given something to do; none of a Ray that was joined, not
    even of one that this process started itself: they may work for others."""
    return {number for processes in Processes.at_work for number in processes.busy()}


def _title(number: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_bytes()
    return b""


def _below(parents: Collection[int]) -> set[Process]:
    """Return the descendants of processes."""
    children: dict[int, set[int]] = {}
    for number, (parent, _) in _all().items():
        children.setdefault(parent, set()).add(number)
    found, left = set[int](), set(parents)
    while left:
        left = {child for parent in left for child in children.get(parent, ())} - found
        found |= left
    return _started(found)


def _started(numbers: Collection[int]) -> set[Process]:
    return {(number, stat[1]) for number in numbers if (stat := _stat(Path(f"/proc/{number}/stat")))}


def _all() -> dict[int, tuple[int, str]]:
    stats = {int(path.parent.name): _stat(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return {number: stat for number, stat in stats.items() if stat}


def _stat(path: Path) -> tuple[int, str] | None:
    """Return the parent of a process and when it started; nothing of one that is gone, or dead and not yet removed."""
    try:
        state, parent, *rest = path.read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else (int(parent), rest[17])
