"""Memory of a training, and smaller micro-batches when a GPU runs out of memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import torch

from ..errors import SlatError

T = TypeVar("T")


_PROCESS = Path("/proc/self")


class Peak:
    """Peak memory of this process since this object was made, beyond what it had then.

    On a GPU what torch has allocated there; on a CPU what the system counts as resident, where that is Linux.
    """

    def __init__(self) -> None:
        self._before: int | None
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        else:
            try:
                (_PROCESS / "clear_refs").write_text("5")  # the peak counts anew
                self._before = _resident("VmRSS")
            except OSError:  # another system
                self._before = None

    @property
    def bytes(self) -> int | None:
        """Peak so far; None if unknown."""
        if self._before is None:
            return None
        now = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _resident("VmHWM")
        return max(0, now - self._before)


def resident_peak() -> int:
    """Return the most bytes that this process has taken: of the GPU, or else of main memory, as far as it is known."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident(field: str) -> int:
    """A line of the process's status, in bytes."""
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in the status of a process")


class OutOfMemoryError(SlatError):
    """Not even one text at a time fits."""


def in_parts_that_fit(texts: int, attempt: Callable[[int], Generator[T]], parts: int = 1) -> Generator[T]:
    """Yield from ``attempt``, begun again with twice the parts whenever the GPU's memory is full.

    Args:
        texts: in a batch; there cannot be more parts.
        attempt: takes the number of parts that a batch goes through the model in.
        parts: to begin with.

    Raises:
        OutOfMemoryError: even single texts do not fit.
    """
    parts = min(parts, texts)
    while True:
        try:
            yield from attempt(parts)
            return
        except torch.OutOfMemoryError as error:
            if parts >= texts:
                message = "the GPU's memory is full with one text at a time; a shorter task.max_length may help"
                raise OutOfMemoryError(message) from error
        parts = min(2 * parts, texts)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
