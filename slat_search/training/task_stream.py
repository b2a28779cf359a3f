"""One task's part of a training: its batches, its model, and the loss of some texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..models.task_model import TaskModel
from ..tasks import (
    Encoded,
    embedding_noise,
    noisy_labels,
    noisy_tokens,
    training_batches,
)

if TYPE_CHECKING:
    from .loop import Plan


@dataclass(frozen=True)
class Source:
    """Training text, and the model that learns from it."""

    model: TaskModel
    data: Encoded


class Batches(Iterator[np.ndarray]):
    """Counts drawn batches, so that another process can resume after them."""

    def __init__(self, batches: Iterator[np.ndarray]):
        self._batches = batches
        self.drawn = 0

    def __next__(self) -> np.ndarray:
        self.drawn += 1
        return next(self._batches)

    def skip(self, count: int) -> None:
        """Draw so many without using them."""
        for _ in range(count):
            next(self)


class Stream:
    """A source under a plan.

    The order of its batches and its noisy labels depend on ``plan.seed`` alone, so they are the same for every method,
    and whether or not other tasks train beside it.

    Args:
        source: text and model.
        plan: of the training.
        special_ids: token ids that noise leaves alone.
        mask_id: what ``mask`` noise writes.

    Attributes:
        batches: rows of each batch.
    """

    def __init__(self, source: Source, plan: Plan, special_ids: Collection[int], mask_id: int):
        self.model, data = source.model, source.data
        self._plan, self._special_ids, self._mask_id = plan, special_ids, mask_id
        self._device = source.model.device
        self._data = noisy_labels(data, plan.noise, source.model.outputs, plan.seed)
        vocabulary = torch.from_numpy(np.unique(data.ids).astype(np.int64))
        self._vocabulary = vocabulary[~torch.isin(vocabulary, torch.tensor(sorted(special_ids), dtype=torch.long))]
        self.batches = Batches(training_batches(data, plan.batch_size, plan.seed))

    def loss(self, rows: np.ndarray, generator: torch.Generator, of: np.ndarray) -> Tensor:
        """Part of some of the texts, ``rows``, in the mean loss of a batch ``of`` texts, a scalar; ``generator`` draws
        the noise."""
        noise = self._plan.noise
        batch = noisy_tokens(
            self._data.batch(rows), noise, self._special_ids, self._mask_id, self._vocabulary, generator
        )
        batch = {name: value.to(self._device, non_blocking=True) for name, value in batch.items()}
        with embedding_noise(self.model.backbone.get_input_embeddings(), noise, generator):
            return self.model.loss(batch) * (self._data.weight(rows) / self._data.weight(of))

    @property
    def drawn(self) -> int:
        """Number of batches drawn so far."""
        return self.batches.drawn

    def skip(self, drawn: int) -> None:
        """Resume after ``drawn`` batches."""
        self.batches.skip(drawn)
