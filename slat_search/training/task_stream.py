"""One task in a training: its batches, its model, and the loss of a micro-batch."""

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
        self.draws = 0

    def __next__(self) -> np.ndarray:
        self.draws += 1
        return next(self._batches)

    def skip(self, count: int) -> None:
        """Draw ``count`` batches without using them."""
        for _ in range(count):
            next(self)


class Stream:
    """A source under a plan.

    The order of its batches and its noisy labels depend on ``plan.seed`` alone, so they are the same for every method,
    with or without other tasks.

    Args:
        source: text and model.
        plan: batch size, noise and seed of the training.
        special_ids: token ids that noise does not change.
        mask_id: token id that ``mask`` noise writes.

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

    def loss(self, rows: np.ndarray, generator: torch.Generator, batch: np.ndarray) -> Tensor:
        """Return the contribution of a micro-batch to the mean loss of its batch, a scalar.

        Args:
            rows: texts of the micro-batch.
            generator: draws the noise.
            batch: texts of the batch.
        """
        noise = self._plan.noise
        inputs = noisy_tokens(
            self._data.batch(rows), noise, self._special_ids, self._mask_id, self._vocabulary, generator
        )
        inputs = {name: value.to(self._device, non_blocking=True) for name, value in inputs.items()}
        with embedding_noise(self.model.backbone.get_input_embeddings(), noise, generator):
            return self.model.loss(inputs) * (self._data.weight(rows) / self._data.weight(batch))

    @property
    def draws(self) -> int:
        """Return the number of batches drawn so far."""
        return self.batches.draws

    def skip(self, count: int) -> None:
        """Resume after ``count`` batches."""
        self.batches.skip(count)
