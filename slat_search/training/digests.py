"""Digests of the inputs of a training: the frozen weights, the tokenizer, the texts of each split.

A run and each of its adapters keep them, so that edited text or replaced weights are reported and do not change a
result unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import SlatError
from ..models.backbone import Backbone
from ..models.quantized import LOADED_AS
from ..records import SavedAdapter
from ..tasks import SPLITS, Example, TaskData

_SIZE = 16  # bytes of a digest
_PROBE = "Über 1,234.5 naïve cafés — 東京 😀 don't\tSTOP"
_CACHE: WeakKeyDictionary[nn.Module, dict[str, str]] = WeakKeyDictionary()


@dataclass(frozen=True)
class MadeFrom:
    """Digests of the inputs of a training.

    Attributes:
        weights: of the frozen model as loaded.
        tokenizer: of the vocabulary and of the tokens of a probe.
        texts: split -> of its texts and labels, in order.
    """

    weights: str
    tokenizer: str
    texts: dict[str, str]

    @classmethod
    def of(cls, backbone: Backbone, weights: str, task: TaskData) -> MadeFrom:
        """Compute them from a loaded model, the configured type of its weights, and a task in memory."""
        texts = {split: texts_digest(task.labels, task.splits[split]) for split in SPLITS}
        return cls(weights_digest(backbone.model, weights), tokenizer_digest(backbone.tokenizer), texts)


def weights_digest(model: nn.Module, dtype: str = "float32") -> str:
    """Return the digest of a bare model's parameters, from whatever files they came; computed once for each model.

    A pooler is left out: it is not used, and not always loaded.

    Args:
        dtype: type of numbers in which the weights are compared; the one they are loaded in for training.
    """
    digests = _CACHE.setdefault(model, {})
    if dtype not in digests:
        parameters = sorted((name, p) for name, p in model.named_parameters() if "pooler" not in name.split("."))
        torch_dtype = getattr(torch, LOADED_AS[dtype])
        with ThreadPoolExecutor() as threads:  # hashing releases the GIL
            digests[dtype] = _digest(
                threads.map(lambda pair: _tensor_digest(pair[0], pair[1], torch_dtype), parameters)
            )
    return digests[dtype]


def tensors_digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Return the digest of names, types, shapes and values of tensors, and of a text that belongs to them."""
    items = sorted(tensors.items())
    return _digest(
        [text.encode(), *(_tensor_digest(f"{name} {value.dtype}", value, value.dtype) for name, value in items)]
    )


def _tensor_digest(name: str, value: Tensor, dtype: torch.dtype) -> bytes:
    value = value.detach().cpu()
    value = value.to(dtype) if value.is_floating_point() else value
    hasher = hashlib.blake2b(f"{name} {tuple(value.shape)}".encode(), digest_size=_SIZE)
    hasher.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.digest()


def tokenizer_digest(tokenizer: Any) -> str:
    """Return the digest of a vocabulary and of the tokens of a probe."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    return _digest([json.dumps([vocabulary, tokenizer(_PROBE)["input_ids"]]).encode()])


def texts_digest(labels: Sequence[str], examples: Sequence[Example]) -> str:
    """Return the digest of the rows of a split: texts, and names of labels or numbers."""
    rows = ([*e.texts, labels[int(e.label)] if labels else e.response or e.label, *e.roles] for e in examples)
    return _digest(json.dumps(row).encode() + b"\n" for row in rows)


def _digest(chunks: Any) -> str:
    hasher = hashlib.blake2b(digest_size=_SIZE)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()


def check_model(where: str, saved: SavedAdapter, model: nn.Module, tokenizer: Any) -> None:
    """Check that a bare model is the one that an adapter was trained on; adapters that kept no digest pass.

    Args:
        where: name of what was loaded, for the message.
        saved: the adapter.

    Raises:
        SlatError: other weights, or another tokenizer.
    """
    if not saved.digests:
        return
    digests = {"weights": weights_digest(model, saved.model.weights), "tokenizer": tokenizer_digest(tokenizer)}
    changes = [name for name, digest in digests.items() if saved.digests.get(name, digest) != digest]
    if changes:
        raise SlatError(
            f"{where}: the {' and '.join(changes)} of the model {saved.model.name} have changed since it "
            "was trained; it fits only what it was trained on"
        )
