"""Going on with smaller parts of a batch when a GPU has no memory for the whole."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import torch

from ..errors import SlatError

T = TypeVar("T")


class OutOfMemoryError(SlatError):
    """Not even one text at a time fits."""


def in_parts_that_fit(texts: int, attempt: Callable[[int], Generator[T]]) -> Generator[T]:
    """What ``attempt`` yields, begun again with twice the parts whenever the GPU's memory is full.

    Args:
        texts: in a batch; there cannot be more parts.
        attempt: takes the number of parts that a batch goes through the model in, from 1.

    Raises:
        OutOfMemoryError: even single texts do not fit.
    """
    parts = 1
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
