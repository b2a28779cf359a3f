"""A linear head in a class of transformers that has a head of its own form.

Our head is :math:`W v + b` on one vector ``v`` a text. A class for classification fits it when it reads the same ``v``
and its own layers can be set to compute the same map:

- ``score`` of decoders is linear and reads the last token. It has no bias. Where the model ends with a norm that has
  one, a shift ``d`` of that with :math:`W d = b` adds it; behind an RMSNorm there is no place for it.
- BERT, RoBERTa, DistilBERT, ELECTRA, DeBERTa and their relatives pass the first token through ``dense``, an activation
  ``f`` and a last layer. With ReLU, GELU and SiLU :math:`f(x) - f(-x) = x`, so ``dense`` :math:`= [W; -W]` and a last
  layer :math:`[I, -I]` are exact. With tanh, :math:`\\tanh(e x) / e = x (1 - (e x)^2 / 3 + ...)` is exact in float32
  for a small power of two ``e``.

Which of these holds is not looked up: each is tried, and counts if the class gives the same logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import SlatError
from ..structure import find_blocks

_TINY = 2.0**-16  # slope of tanh: its error is below 1e-7 of a logit up to 30
_TOLERANCE = 1e-5  # of logits, for each 1 of the largest


class UnfitHeadError(SlatError):
    """The class has no place for the head; says why."""


@dataclass(frozen=True)
class LinearHead:
    """A trained head.

    Attributes:
        weight: (outputs, width).
        bias: (outputs,).
        pooling: how token vectors become the one it reads.
        is_regression: of a number and not of classes, whose logits may all be shifted alike.
    """

    weight: Tensor
    bias: Tensor
    pooling: str
    is_regression: bool

    def logits(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Logits (texts, outputs) of token vectors (texts, length, width) with their mask (texts, length)."""
        if self.pooling == "first":
            pooled = vectors[:, 0]
        elif self.pooling == "last":
            pooled = vectors[torch.arange(len(vectors)), mask.sum(1) - 1]
        else:
            pooled = (vectors * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return pooled @ self.weight.T + self.bias

    def differs(self, logits: Tensor, expected: Tensor) -> float:
        """Return how far logits are off, as a share of the largest; of classes a shift of all does not count."""
        difference = logits - expected
        if not self.is_regression:
            difference = difference - difference.mean(1, keepdim=True)
        return float(difference.abs().max() / expected.abs().max().clamp(min=1))


@torch.no_grad()
def put_head(model: PreTrainedModel, head: LinearHead, batch: dict[str, Tensor]) -> tuple[str, ...]:
    """Set the layers of a class for classification so that it computes ``head``, and return the names of these modules.

    Args:
        model: in evaluation mode, bare.
        batch: some texts, which the result is compared on.

    Raises:
        UnfitHeadError: it cannot; its weights are then useless.
    """
    name = type(model).__name__
    expected = head.logits(model.base_model(**batch).last_hidden_state, batch["attention_mask"])
    tried = False
    for attempt in _ways(model, head):
        tried = True
        names = attempt()
        if head.differs(model(**batch).logits, expected) <= _TOLERANCE:
            return names
    if not tried:
        raise UnfitHeadError(f"{name} has layers before its labels that a linear head cannot be put into")
    raise UnfitHeadError(f"{name} does not read a text's vector with `pooling: {head.pooling}`")


def _ways(model: PreTrainedModel, head: LinearHead) -> Iterator[Callable[[], tuple[str, ...]]]:
    score = getattr(model, "score", None)
    if isinstance(score, nn.Linear):
        yield lambda: _score(model, score, head)
        return
    width, outputs = head.weight.shape[1], len(head.weight)
    for first, last in _pairs(model):
        dense, out = model.get_submodule(first), model.get_submodule(last)
        if not isinstance(dense, nn.Linear) or not isinstance(out, nn.Linear) or dense.weight.shape != (width, width):
            continue
        names = tuple(dict.fromkeys((_owner(model, first), _owner(model, last))))
        if 2 * outputs <= width:
            yield partial(_odd, dense, out, head, names)
        yield partial(_flat, dense, out, head, names)


def _pairs(model: PreTrainedModel) -> Iterator[tuple[str, str]]:
    """Paths of a class's dense layer and of its last one, for each form of head that there is."""
    inside = f"{model.base_model_prefix}."
    known = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for pair in (
        (f"{inside}pooler.dense", "classifier"),  # BERT
        (f"{inside}pooler", "classifier"),  # ALBERT
        ("pooler.dense", "classifier"),  # DeBERTa
        ("classifier.dense", "classifier.out_proj"),  # RoBERTa, ELECTRA
        ("pre_classifier", "classifier"),  # DistilBERT
        ("dense", "classifier"),  # EuroBERT
    ):
        if known.issuperset(pair):
            yield pair


def _owner(model: PreTrainedModel, path: str) -> str:
    """The module that is saved for a layer: a head of several layers, a pooler, or the layer itself."""
    parent, _, _ = path.rpartition(".")
    return path if parent in ("", model.base_model_prefix) else parent


def _clear(layer: nn.Linear) -> None:
    layer.weight.zero_()
    if layer.bias is not None:
        layer.bias.zero_()


def _odd(dense: nn.Linear, out: nn.Linear, head: LinearHead, names: tuple[str, ...]) -> tuple[str, ...]:
    outputs = len(head.weight)
    _clear(dense)
    _clear(out)
    dense.weight[: 2 * outputs] = torch.cat([head.weight, -head.weight])
    out.weight[:, : 2 * outputs] = torch.cat([torch.eye(outputs), -torch.eye(outputs)], dim=1)
    out.bias.copy_(head.bias)
    return names


def _flat(dense: nn.Linear, out: nn.Linear, head: LinearHead, names: tuple[str, ...]) -> tuple[str, ...]:
    outputs = len(head.weight)
    if outputs > len(dense.weight):
        raise UnfitHeadError(f"{outputs} labels do not fit into a layer of {len(dense.weight)}")
    _clear(dense)
    _clear(out)
    dense.weight[:outputs] = _TINY * head.weight
    out.weight[:, :outputs] = torch.eye(outputs) / _TINY
    out.bias.copy_(head.bias)
    return names


def _score(model: PreTrainedModel, score: nn.Linear, head: LinearHead) -> tuple[str, ...]:
    score.weight.copy_(head.weight)
    if score.bias is not None:
        score.bias.copy_(head.bias)
        return ("score",)
    bias = head.bias if head.is_regression else head.bias - head.bias.mean()
    if not bias.any():
        return ("score",)
    blocks, _ = find_blocks(model)
    norms = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm) and module.bias is not None and not name.startswith(f"{blocks}.")
    ]
    if not norms:
        raise UnfitHeadError(
            f"{type(model).__name__} has no bias in its `score`, and no norm with a bias before it; that of this head "
            f"differs by up to {float(bias.max() - bias.min() if not head.is_regression else bias.abs().max()):.2g}"
        )
    name, norm = norms[-1]
    shift = torch.linalg.lstsq(head.weight.double(), bias.double().unsqueeze(1), driver="gelsd").solution.squeeze(1)
    norm.bias += shift.to(norm.bias.dtype)
    return (name, "score")
