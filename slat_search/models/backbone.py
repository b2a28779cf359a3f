"""Load the frozen transformer and its tokenizer by name."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import SlatError
from .loading import (
    check_fit,
    read_config,
    read_model,
    read_tokenizer,
)
from .object_store import Packed, packed, unpacked
from .quantized import LOADED_AS, QUANTIZED, check_quantized, quantize
from .registry import Source

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger(__name__)
_LENGTH_FIELDS = ("max_position_embeddings", "max_encoder_position_embeddings")
#: precision of matrix products -> name of that precision in torch
_MATMUL_PRECISION = {"float32": "highest", "bfloat16": "medium"}


@dataclass(frozen=True)
class Backbone:
    """A frozen model with its tokenizer; pickled with its weights, and unpickled once per process.

    Attributes:
        name: name of the model as the user wrote it.
        model: model without a task head, or with the head that predicts the next token; every parameter is frozen.
        tokenizer: tokenizer of the model.
        width: size of a token vector.
        params: number of parameters.
        attention: implementation of attention that the model was loaded with.
        key: identifier that all copies of the model in other processes share.
        weights: format of the frozen weights.
        revision: commit on the hub that the model was read from, if the hub's cache knows it; else empty.
    """

    name: str
    model: PreTrainedModel
    tokenizer: Any
    width: int
    params: int
    attention: str
    key: str
    weights: str = "float32"
    revision: str = ""

    def __reduce__(self) -> tuple[Callable[..., Backbone], tuple[Any, ...]]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"}
        return _restore, (packed(self.model), values)

    @property
    def longest(self) -> int | None:
        """Largest number of tokens of a text, if the model or its tokenizer states one."""
        fields = (getattr(self.model.config, field, None) for field in _LENGTH_FIELDS)
        candidates = (*fields, _max_positions(self.model), self.tokenizer.model_max_length)
        limits = [limit for limit in candidates if isinstance(limit, int) and 0 < limit < 1_000_000]
        return min(limits, default=None)

    def quantize(self) -> None:
        """Quantize the weights of the blocks to 4 or 8 bits, if ``weights`` says so; pickling the model then fails."""
        if self.weights in QUANTIZED:
            quantize(self.model, self.weights)

    def place(self, device: str, precision: str, checkpointing: bool = False) -> None:
        """Move the model to ``device`` and set the precision of this process's float32 matrix products.

        Args:
            precision: ``float32``, or ``bfloat16``: factors are rounded, products summed and stored in float32. On a
                CPU the model then takes the plain form of attention: torch's fused one has a backward pass that is
                several times slower at this setting (torch 2.13).
            checkpointing: whether training recomputes activations in the backward pass instead of storing them.

        Raises:
            SlatError: checkpointing with a model that does not support it.
        """
        torch.set_float32_matmul_precision(_MATMUL_PRECISION[precision])
        if checkpointing and not self.model.supports_gradient_checkpointing:
            raise SlatError(f"model.gradient_checkpointing: {type(self.model).__name__} has none")
        # transformers 5 calls it gradient checkpointing, and later versions activation checkpointing
        kind = "activation" if hasattr(self.model, "activation_checkpointing_enable") else "gradient"
        if checkpointing:
            getattr(self.model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
            # a hook for reentrant checkpointing, which would only send gradients through frozen layers, and remain
            self.model.disable_input_require_grads()
        elif getattr(self.model, f"is_{kind}_checkpointing"):
            getattr(self.model, f"{kind}_checkpointing_disable")()
        attention = "eager" if precision == "bfloat16" and device == "cpu" else self.attention
        if self.model.config._attn_implementation != attention:
            self.model.set_attn_implementation(attention)
        self.model.to(device)


_RESTORED: dict[str, Backbone] = {}


def _restore(model: Packed, values: dict[str, Any]) -> Backbone:
    """Return the copy of the model in this process, which all its trainings share."""
    if values["key"] not in _RESTORED:
        _RESTORED.clear()
        _RESTORED[values["key"]] = Backbone(model=unpacked(model), **values)
    return _RESTORED[values["key"]]


def _max_positions(model: nn.Module) -> int | None:
    """Return the largest number of tokens where positions begin after the index of the padding token, as in RoBERTa and
    its relatives: no token has one of the positions up to that index. Return None for other models."""
    for name, module in model.named_modules():
        padding_index = getattr(module, "padding_idx", None)
        if name.rpartition(".")[2] == "position_embeddings" and padding_index is not None:
            return len(module.weight) - padding_index - 1
    return None


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Compute float32 matrix products in ``precision`` within the block, and restore the previous precision."""
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_MATMUL_PRECISION[precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(previous)


def load_backbone(
    name: str,
    dropout: bool = False,
    weights: str = "float32",
    causal: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Backbone:
    """Load a new copy of a backbone and freeze it; of an encoder-decoder only the encoder is used.

    Args:
        name: an embedded name, a local folder, or a name on the Hugging Face hub.
        dropout: keep the model's own dropout rates; False sets them to 0, which is faster and lets frozen
            layers be computed once.
        weights: ``float32``, ``bfloat16``, ``nf4`` or ``int8``, whatever format the model was saved in.
        causal: keep the head that predicts the next token, for tasks with prompts.
        revision: branch, tag or commit on the hub; the newest by default.
        trust_remote_code: allow Python code beside the weights to run; the setting of an adapter is ignored.

    Raises:
        SlatError: an unknown name, or a model that cannot be loaded completely; see :mod:`.loading`.
    """
    source = Source.of(name, revision, trust_remote_code)
    config = read_config(source)
    if commit := source.commit:
        source = replace(source, revision=commit)  # as a branch may move before the weights are read
    if not dropout:
        for field, rate in config.to_dict().items():
            if "drop" in field and isinstance(rate, float):  # dropout of values, of attention or of whole layers
                setattr(config, field, 0.0)
    config.use_cache = False  # the cache of keys and values, which only generation uses
    tokenizer = read_tokenizer(source)
    check_quantized(weights)
    model = read_model(source, config, LOADED_AS[weights], causal)
    check_fit(model, tokenizer, name)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # unused, as we pool token vectors ourselves; its weights must not count as backbone
    model.requires_grad_(False)
    params = sum(p.numel() for p in model.parameters())
    attention = model.config._attn_implementation
    _log.debug(f"model {name}: {params:,} parameters from {source.path} {commit}, attention {attention}")
    key, width = uuid.uuid4().hex, model.config.hidden_size
    return Backbone(name, model, tokenizer, width, params, attention, key, weights, commit)


#: loads the backbone that the trainings of one process use in turn; between trainings no adapter is attached to it
shared_backbone = lru_cache(maxsize=1)(load_backbone)
