"""The frozen transformer and its tokenizer, by name."""

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
#: precision of the products -> what torch calls it
_PRODUCTS = {"float32": "highest", "bfloat16": "medium"}


@dataclass(frozen=True)
class Backbone:
    """A frozen model with its tokenizer; pickled with its weights, and unpickled once a process.

    Attributes:
        name: as the user wrote it.
        model: without task head, but for the one that predicts the next token; every parameter frozen.
        tokenizer: the model's own.
        width: size of a token vector.
        params: number of parameters.
        attention: implementation of attention that the model was loaded with.
        key: the same for all copies of it in other processes.
        weights: what frozen weights are kept in.
        revision: commit on the hub that it was read from, as far as the hub's cache tells; else empty.
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
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "model"}
        return _received, (packed(self.model), rest)

    @property
    def longest(self) -> int | None:
        """Most tokens of a text, as far as the model or its tokenizer says."""
        fields = (getattr(self.model.config, field, None) for field in _LENGTH_FIELDS)
        candidates = (*fields, _positions(self.model), self.tokenizer.model_max_length)
        limits = [limit for limit in candidates if isinstance(limit, int) and 0 < limit < 1_000_000]
        return min(limits, default=None)

    def quantize(self) -> None:
        """Keep the weights of the blocks in 4 or 8 bits, if ``weights`` says so; it cannot be pickled from then on."""
        if self.weights in QUANTIZED:
            quantize(self.model, self.weights)

    def place(self, device: str, precision: str, checkpointing: bool = False) -> None:
        """Move the model to ``device`` and set the precision of this process's float32 matrix products.

        Args:
            precision: ``float32``, or ``bfloat16``: factors are rounded, products summed and stored in float32. On a
                CPU the model then takes the plain form of attention: torch's fused one has a backward pass that is
                several times slower at this setting (torch 2.13).
            checkpointing: whether training computes activations again in the backward pass in place of keeping them.

        Raises:
            SlatError: checkpointing, and a model that knows none.
        """
        torch.set_float32_matmul_precision(_PRODUCTS[precision])
        if checkpointing and not self.model.supports_gradient_checkpointing:
            raise SlatError(f"model.gradient_checkpointing: {type(self.model).__name__} has none")
        # transformers 5 calls it gradient, and later activation checkpointing
        word = "activation" if hasattr(self.model, "activation_checkpointing_enable") else "gradient"
        if checkpointing:
            getattr(self.model, f"{word}_checkpointing_enable")({"use_reentrant": False})
            # a hook for reentrant checkpointing: here it would only send gradients through frozen layers, and stay
            self.model.disable_input_require_grads()
        elif getattr(self.model, f"is_{word}_checkpointing"):
            getattr(self.model, f"{word}_checkpointing_disable")()
        attention = "eager" if precision == "bfloat16" and device == "cpu" else self.attention
        if self.model.config._attn_implementation != attention:
            self.model.set_attn_implementation(attention)
        self.model.to(device)


_RECEIVED: dict[str, Backbone] = {}


def _received(model: Packed, rest: dict[str, Any]) -> Backbone:
    """Return this process's copy, which its trainings share."""
    if rest["key"] not in _RECEIVED:
        _RECEIVED.clear()
        _RECEIVED[rest["key"]] = Backbone(model=unpacked(model), **rest)
    return _RECEIVED[rest["key"]]


def _positions(model: nn.Module) -> int | None:
    """Most tokens where positions are counted from behind the padding token's number, as RoBERTa's relatives do: those
    up to it stand in the table, and no token gets them."""
    for name, module in model.named_modules():
        behind = getattr(module, "padding_idx", None)
        if name.rpartition(".")[2] == "position_embeddings" and behind is not None:
            return len(module.weight) - behind - 1
    return None


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """Compute float32 matrix products in ``precision`` meanwhile; the process goes back to what it had."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(_PRODUCTS[precision])
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def load_backbone(
    name: str,
    dropout: bool = False,
    weights: str = "float32",
    causal: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Backbone:
    """Load a backbone of one's own and freeze it. Of an encoder-decoder the encoder is taken.

    Args:
        name: an embedded name, a local folder, or a name on the Hugging Face hub.
        dropout: keep the model's own dropout rates; False sets them to 0, which is faster and lets frozen
            layers be computed once.
        weights: ``float32``, ``bfloat16``, ``nf4`` or ``int8``, whatever the model was saved in.
        causal: with the head that predicts the next token, for tasks that are prompts.
        revision: branch, tag or commit on the hub; the newest by default.
        trust_remote_code: let Python code beside the weights run; what an adapter says of it counts for nothing.

    Raises:
        SlatError: an unknown name, or a model that cannot be loaded whole; see :mod:`.loading`.
    """
    source = Source.of(name, revision, trust_remote_code)
    config = read_config(source)
    if commit := source.commit:
        source = replace(source, revision=commit)  # a branch may move before the weights are read
    if not dropout:
        for field, rate in config.to_dict().items():
            if "drop" in field and isinstance(rate, float):  # of values, of attention, of whole layers
                setattr(config, field, 0.0)
    config.use_cache = False  # of keys and values, which only generation has a use for
    tokenizer = read_tokenizer(source)
    check_quantized(weights)
    model = read_model(source, config, LOADED_AS[weights], causal)
    check_fit(model, tokenizer, name)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # unused by our own pooling; its weights must not count as backbone
    model.requires_grad_(False)
    params = sum(p.numel() for p in model.parameters())
    attention = model.config._attn_implementation
    _log.debug(f"model {name}: {params:,} parameters from {source.path} {commit}, attention {attention}")
    key, width = uuid.uuid4().hex, model.config.hidden_size
    return Backbone(name, model, tokenizer, width, params, attention, key, weights, commit)


#: the backbone that all trainings of one process take turns on: loaded once, bare between trainings
shared_backbone = lru_cache(maxsize=1)(load_backbone)
