"""Put a linear head into a class of transformers that has a head of another form.

Our head is :math:`W v + b` on one vector ``v`` per text. A class for classification fits it when it reads the same
``v`` and its own layers can be set to compute the same map:

- ``score`` of decoders is linear and reads the last token. It has no bias. If the model ends with a norm that has a
  bias, a shift ``d`` of it with :math:`W d = b` adds ours; after an RMSNorm there is no place for it.
- BERT, RoBERTa, DistilBERT, ELECTRA, DeBERTa and their relatives pass the first token through ``dense``, an activation
  ``f`` and a last layer. With ReLU, GELU and SiLU :math:`f(x) - f(-x) = x`, so ``dense`` :math:`= [W; -W]` and a last
  layer :math:`[I, -I]` are exact. With tanh, :math:`\\tanh(e x) / e = x (1 - (e x)^2 / 3 + ...)` is exact in float32
  for a small power of two ``e``.

Which form a class has is not looked up: each one is tried, and accepted if the class gives the same logits.
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

_SLOPE = 2.0**-16  # ``e`` above: the error is below 1e-7 of a logit up to 30
_TOLERANCE = 1e-5  # of logits, relative to the largest


class UnfitHeadError(SlatError):
    """The class has no place for the head; the message says why."""


@dataclass(frozen=True)
class LinearHead:
    """A trained head.

    Attributes:
        weight: (outputs, width).
        bias: (outputs,).
        pooling: how token vectors become the one that the head reads.
        is_regression: whether the head predicts a number; logits of classes may all be shifted alike.
    """

    weight: Tensor
    bias: Tensor
    pooling: str
    is_regression: bool

    def logits(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return logits (texts, outputs) of token vectors (texts, length, width) with their mask (texts, length)."""
        if self.pooling == "first":
            pooled = vectors[:, 0]
        elif self.pooling == "last":
            pooled = vectors[torch.arange(len(vectors)), mask.sum(1) - 1]
        else:
            pooled = (vectors * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        return pooled @ self.weight.T + self.bias

    def differs(self, logits: Tensor, expected: Tensor) -> float:
        """Return the largest deviation relative to the largest logit; for classes a shift of all does not count."""
        difference = logits - expected
        if not self.is_regression:
            difference = difference - difference.mean(1, keepdim=True)
        return float(difference.abs().max() / expected.abs().max().clamp(min=1))


@torch.no_grad()
def put_head(model: PreTrainedModel, head: LinearHead, batch: dict[str, Tensor]) -> tuple[str, ...]:
    """Set the layers of a class for classification so that it computes ``head``, and return the names of these modules.

    Args:
        model: model in evaluation mode, without an adapter.
        batch: texts on which logits are compared.

    Raises:
        UnfitHeadError: the class cannot compute it; the weights of ``model`` are then useless.
    """
    name = type(model).__name__
    expected = head.logits(model.base_model(**batch).last_hidden_state, batch["attention_mask"])
    num_attempts = 0
    for set_layers in _attempts(model, head):
        num_attempts += 1
        names = set_layers()
        if head.differs(model(**batch).logits, expected) <= _TOLERANCE:
            return names
    if not num_attempts:
        raise UnfitHeadError(f"{name} has layers before its labels that a linear head cannot be put into")
    raise UnfitHeadError(f"{name} does not read a text's vector with `pooling: {head.pooling}`")


def _attempts(model: PreTrainedModel, head: LinearHead) -> Iterator[Callable[[], tuple[str, ...]]]:
    """Yield functions that each set the layers of a class in one way, and return the names of their modules."""
    score = getattr(model, "score", None)
    if isinstance(score, nn.Linear):
        yield lambda: _set_score(model, score, head)
        return
    width, outputs = head.weight.shape[1], len(head.weight)
    for dense_path, output_path in _layer_pairs(model):
        dense, output = model.get_submodule(dense_path), model.get_submodule(output_path)
        if (
            not isinstance(dense, nn.Linear)
            or not isinstance(output, nn.Linear)
            or dense.weight.shape != (width, width)
        ):
            continue
        names = tuple(dict.fromkeys((_saved_module(model, dense_path), _saved_module(model, output_path))))
        if 2 * outputs <= width:
            yield partial(_set_symmetric_layers, dense, output, head, names)
        yield partial(_set_scaled_layers, dense, output, head, names)


def _layer_pairs(model: PreTrainedModel) -> Iterator[tuple[str, str]]:
    """Yield the paths of the dense layer and of the last layer of a class, for each form of head that it has."""
    prefix = f"{model.base_model_prefix}."
    linear_names = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    for pair in (
        (f"{prefix}pooler.dense", "classifier"),  # BERT
        (f"{prefix}pooler", "classifier"),  # ALBERT
        ("pooler.dense", "classifier"),  # DeBERTa
        ("classifier.dense", "classifier.out_proj"),  # RoBERTa, ELECTRA
        ("pre_classifier", "classifier"),  # DistilBERT
        ("dense", "classifier"),  # EuroBERT
    ):
        if linear_names.issuperset(pair):
            yield pair


def _saved_module(model: PreTrainedModel, path: str) -> str:
    """Return the path of the module to save for a layer: a head of several layers, a pooler, or the layer itself."""
    parent, _, _ = path.rpartition(".")
    return path if parent in ("", model.base_model_prefix) else parent


def _set_to_zero(layer: nn.Linear) -> None:
    layer.weight.zero_()
    if layer.bias is not None:
        layer.bias.zero_()


def _set_symmetric_layers(
    dense: nn.Linear, output: nn.Linear, head: LinearHead, names: tuple[str, ...]
) -> tuple[str, ...]:
    outputs = len(head.weight)
    _set_to_zero(dense)
    _set_to_zero(output)
    dense.weight[: 2 * outputs] = torch.cat([head.weight, -head.weight])
    output.weight[:, : 2 * outputs] = torch.cat([torch.eye(outputs), -torch.eye(outputs)], dim=1)
    output.bias.copy_(head.bias)
    return names


def _set_scaled_layers(
    dense: nn.Linear, output: nn.Linear, head: LinearHead, names: tuple[str, ...]
) -> tuple[str, ...]:
    outputs = len(head.weight)
    if outputs > len(dense.weight):
        raise UnfitHeadError(f"{outputs} labels do not fit into a layer of {len(dense.weight)}")
    _set_to_zero(dense)
    _set_to_zero(output)
    dense.weight[:outputs] = _SLOPE * head.weight
    output.weight[:, :outputs] = torch.eye(outputs) / _SLOPE
    output.bias.copy_(head.bias)
    return names


def _set_score(model: PreTrainedModel, score: nn.Linear, head: LinearHead) -> tuple[str, ...]:
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
