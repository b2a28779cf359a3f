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
    """Peak memory of this process since this object was made, beyond the memory in use at that time.

    On a GPU it is the memory that torch has allocated there; on a CPU the resident memory, on Linux only.
    """

    def __init__(self) -> None:
        self._baseline: int | None
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self._baseline = torch.cuda.memory_allocated()
        else:
            try:
                (_PROCESS / "clear_refs").write_text("5")  # resets the peak
                self._baseline = _resident("VmRSS")
            except OSError:  # another system
                self._baseline = None

    @property
    def bytes(self) -> int | None:
        """Return the peak so far; None if unknown."""
        if self._baseline is None:
            return None
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _resident("VmHWM")
        return max(0, peak - self._baseline)


def resident_peak() -> int:
    """Return the peak memory of this process in bytes: of the GPU, or without one of main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident(field: str) -> int:
    """Return a field of the process's status in bytes."""
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in the status of a process")


class OutOfMemoryError(SlatError):
    """A single text does not fit."""


def in_micro_batches_that_fit(
    batch_size: int, attempt: Callable[[int], Generator[T]], accumulation: int = 1
) -> Generator[T]:
    """Yield from ``attempt``, which is restarted with twice the micro-batches whenever the GPU's memory is full.

    Args:
        batch_size: texts in a batch, which cannot have more micro-batches.
        attempt: takes the number of micro-batches per batch.
        accumulation: micro-batches per batch of the first attempt.

    Raises:
        OutOfMemoryError: single texts do not fit.
    """
    accumulation = min(accumulation, batch_size)
    while True:
        try:
            yield from attempt(accumulation)
            return
        except torch.OutOfMemoryError as error:
            if accumulation >= batch_size:
                message = "the GPU's memory is full with one text at a time; a shorter task.max_length may help"
                raise OutOfMemoryError(message) from error
        accumulation = min(2 * accumulation, batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
