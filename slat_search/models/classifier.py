"""A text classifier: backbone, pooling and a linear head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..tasks import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TextClassifier(nn.Module):
    """Logits for labelled text.

    Args:
        backbone: a model whose output has ``last_hidden_state`` (batch, length, width).
        width: size of a token vector.
        outputs: number of labels; 1 in a regression.
        pooling: ``mean`` over real tokens, ``first`` token, or ``last`` real token.

    Attributes:
        outputs: number of labels; 1 in a regression.
        head: the linear layer.
    """

    def __init__(self, backbone: PreTrainedModel, width: int, outputs: int, pooling: str = "mean"):
        super().__init__()
        self.backbone: PreTrainedModel = backbone
        self.pooling = pooling
        self.outputs = outputs
        self.head = nn.Linear(width, outputs)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    def pool(self, batch: Batch) -> Tensor:
        """Return one vector per text, (batch, width), in the precision of the head rather than of the backbone."""
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        hidden = self.backbone(**inputs).last_hidden_state.to(self.head.weight.dtype)
        mask = batch["attention_mask"]
        if self.pooling == "first":
            return hidden[:, 0]
        if self.pooling == "last":
            positions = torch.arange(mask.shape[1], device=mask.device)
            last_positions = (positions * mask).argmax(dim=1)
            return hidden[torch.arange(len(hidden), device=mask.device), last_positions]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (batch, outputs)."""
        return self.head(self.pool(batch))

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss of the texts, a scalar; see :func:`task_loss`."""
        return task_loss(self(batch), batch["labels"])


def task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of logits (n, classes) for integer labels (n,), or for numbers the mean
    squared error of logits (n, 1); a scalar."""
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(1), labels)
    return F.cross_entropy(logits, labels)
