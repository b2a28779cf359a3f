"""The processes of a Ray that we started, so that none outlives it: agents wait a minute for a GCS that has ended."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

_GRACE = 3.0  # seconds in which processes may end after a shutdown
#: titles of workers with a task or an actor, which Ray's agents do not have
_BUSY = re.compile(rb"ray::(_train|_evaluate|ImplicitFunc)")
#: number of a process and its start time, as numbers are reused
Process = tuple[int, str]


class Processes:
    """The processes started in the block of :meth:`record`, and their descendants; none without a ``/proc``."""

    at_work: ClassVar[list[Processes]] = []

    def __init__(self) -> None:
        self._processes: set[Process] = set()

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record all processes that this one starts in the block, and end them if it fails."""
        earlier = _descendants({os.getpid()})
        self.at_work.append(self)
        try:
            yield
        except BaseException:
            self._processes = _descendants({os.getpid()}) - earlier
            self.end()
            raise
        self._processes = _descendants({os.getpid()}) - earlier

    def refresh(self) -> None:
        """Add new descendants, which cannot be found after their parents have ended."""
        self._processes |= _descendants({number for number, _ in self._alive()})

    def end(self) -> None:
        """Kill the processes that do not end by themselves within a few seconds."""
        self.at_work.remove(self)
        deadline = time.monotonic() + _GRACE
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        for number, _ in self._alive():
            with suppress(OSError):
                os.kill(number, signal.SIGKILL)

    def busy(self) -> set[int]:
        """Return the workers that have a task or an actor."""
        return {
            number
            for number, _ in _descendants({number for number, _ in self._processes})
            if _BUSY.match(_title(number))
        }

    def _alive(self) -> set[Process]:
        return {process for process in self._processes if process in _identities([process[0]])}


def busy_workers() -> set[int]:
    """Return the workers with a task or an actor of a Ray that we started.

    Workers of a Ray that was joined are left out, even if this process started it itself: they may work for others.
    """
    return {number for processes in Processes.at_work for number in processes.busy()}


def _title(number: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{number}/cmdline").read_bytes()
    return b""


def _descendants(parents: Collection[int]) -> set[Process]:
    """Return the descendants of processes."""
    children: dict[int, set[int]] = {}
    for number, (parent, _) in _stats().items():
        children.setdefault(parent, set()).add(number)
    descendants, generation = set[int](), set(parents)
    while generation:
        generation = {child for parent in generation for child in children.get(parent, ())} - descendants
        descendants |= generation
    return _identities(descendants)


def _identities(numbers: Collection[int]) -> set[Process]:
    return {(number, stat[1]) for number in numbers if (stat := _stat(Path(f"/proc/{number}/stat")))}


def _stats() -> dict[int, tuple[int, str]]:
    stats = {int(path.parent.name): _stat(path) for path in Path("/proc").glob("[0-9]*/stat")}
    return {number: stat for number, stat in stats.items() if stat}


def _stat(path: Path) -> tuple[int, str] | None:
    """Return the parent of a process and its start time; None if it has ended, also where it is still a zombie."""
    try:
        state, parent, *fields = path.read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else (int(parent), fields[17])
