"""Encode texts as token ids once, and batch them with little padding, sorted by length."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import SlatError
from . import cache
from .examples import Example

Batch = dict[str, Tensor]
_MAX_UNKNOWN = 0.3  # share of unknown tokens above which texts can no longer be told apart
_WARN_UNKNOWN = 0.05  # share of unknown tokens above which a warning is worth it
_MEGABATCH = 16  # batches that are shuffled together before they are sorted by length

Texts = TypeVar("Texts", bound="Encoded")


@dataclass(frozen=True)
class Encoded:
    """Token ids of many texts laid end to end: text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: int32 (tokens,).
        types: int32 (tokens,), segment of each token, or None where the model knows none.
        offsets: int64 (texts + 1,).
        labels: int64 (texts,), or float32 (texts,) in a regression, scaled as they are learned.
        pad_id: token id with which a batch is padded.
    """

    ids: np.ndarray
    types: np.ndarray | None
    offsets: np.ndarray
    labels: np.ndarray
    pad_id: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, (texts,)."""
        return np.diff(self.offsets)

    def weight(self, rows: np.ndarray) -> float:
        """Return the weight of texts in a mean loss: their number."""
        return float(len(rows))

    def keys(self) -> Iterator[bytes]:
        """Yield a key of each text, by which it is told from others: its tokens, and their segments."""
        for start, end in pairwise(self.offsets.tolist()):
            yield self.ids[start:end].tobytes() + (b"" if self.types is None else self.types[start:end].tobytes())

    def tokens_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions in ``ids`` of the tokens of some texts, one text after the other."""
        spans = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)

    def take(self, rows: np.ndarray) -> Self:
        """Return some of the texts."""
        positions = self.tokens_of(rows)
        return replace(
            self,
            ids=self.ids[positions],
            types=None if self.types is None else self.types[positions],
            offsets=np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64),
            labels=self.labels[rows],
        )

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Return ``input_ids``, ``attention_mask`` (``token_type_ids``) of (rows, longest), and ``labels`` (rows,)."""
        rows = np.asarray(rows)
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max())[None, :] < lengths[:, None]
        positions = self.tokens_of(rows)
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        ids[mask] = self.ids[positions]
        batch = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "labels": torch.from_numpy(self.labels[rows]),
        }
        if self.types is not None:
            types = np.zeros(mask.shape, dtype=np.int64)
            types[mask] = self.types[positions]
            batch["token_type_ids"] = torch.from_numpy(types)
        return batch


def join(sets: Sequence[Texts]) -> tuple[Texts, list[np.ndarray]]:
    """Return one set that holds each text of ``sets`` once, and for each set the rows of its texts in the joint set.

    Texts are the same when their tokens are; most of a lightly perturbed set is unperturbed. Labels mean nothing in
    the joint set.
    """
    row_by_key: dict[bytes, int] = {}
    rows_by_set: list[np.ndarray] = []
    unique_texts: list[Texts] = []
    for texts in sets:
        rows = np.empty(len(texts), dtype=np.int64)
        new_rows = []
        for i, key in enumerate(texts.keys()):
            if key not in row_by_key:
                new_rows.append(i)
            rows[i] = row_by_key.setdefault(key, len(row_by_key))
        unique_texts.append(texts.take(np.asarray(new_rows, dtype=np.int64)))
        rows_by_set.append(rows)
    return concatenate(unique_texts), rows_by_set


def concatenate(sets: Sequence[Texts]) -> Texts:
    """Return all texts of sets of one kind in one set."""
    values: dict[str, Any] = {}
    for field in fields(sets[0]):
        parts = [getattr(texts, field.name) for texts in sets]
        if field.name.endswith("offsets"):
            starts = np.cumsum([0, *(offsets[-1] for offsets in parts)])
            shifted = [offsets[1:] + start for offsets, start in zip(parts, starts, strict=False)]
            values[field.name] = np.concatenate([[0], *shifted])
        elif isinstance(parts[0], np.ndarray):
            values[field.name] = np.concatenate(parts)
        else:
            values[field.name] = parts[0]
    return type(sets[0])(**values)


def encode(
    tokenizer: Any, examples: Sequence[Example], max_length: int, scale: tuple[float, float] | None = None
) -> Encoded:
    """Return the token ids of all texts, tokenized in one call of a Hugging Face tokenizer and cached by :mod:`.cache`.

    Args:
        scale: mean and standard deviation by which the labels of a regression are standardized; None for classes.
    """
    columns = [list(column) for column in zip(*(e.texts for e in examples), strict=True)]
    key = cache.digest([fingerprint(tokenizer), str(max_length)], *columns)
    arrays = cache.cached_arrays(key, lambda: _tokenize(tokenizer, columns, max_length))
    return Encoded(
        ids=arrays["ids"],
        types=arrays.get("types"),
        offsets=arrays["offsets"],
        labels=_label_array([e.label for e in examples], scale),
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )


def check_room(tokenizer: Any, max_length: int, sides: int) -> None:
    """Check that ``max_length`` leaves room for a token of each text beside the special ones.

    Args:
        sides: texts of a row, 1 or 2.

    Raises:
        SlatError: it does not.
    """
    special = tokenizer.num_special_tokens_to_add(sides == 2)
    if max_length < special + sides:
        raise SlatError(
            f"task.max_length: {max_length} tokens leave no room for text, as {special} of them are the tokenizer's own"
        )


def check_tokens(tokenizer: Any, data: Encoded, sides: int, source: str) -> None:
    """Check that the vocabulary of a tokenizer fits the texts that it has encoded.

    Args:
        sides: texts of a row, 1 or 2.
        source: name of the texts, for messages.

    Raises:
        SlatError: no token is left of the texts, or more tokens are unknown than can be right.
    """
    tokens = len(data.ids) - len(data) * tokenizer.num_special_tokens_to_add(sides == 2)
    if tokens <= 0:
        raise SlatError(f"model.name: its tokenizer makes no token of {source}; it is not the model's own, or damaged")
    unknown_id = tokenizer.unk_token_id
    if unknown_id is None or unknown_id in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        return  # it reads every character, and the token has another purpose
    share = float(np.mean(data.ids == unknown_id)) * len(data.ids) / tokens
    sentence = f"{share:.0%} of the tokens of {source} are unknown ({tokenizer.unk_token}) to its tokenizer"
    if share > _MAX_UNKNOWN:
        raise SlatError(f"model.name: {sentence}; it is not the model's own, or of another language, script or case")
    if share > _WARN_UNKNOWN:
        warnings.warn(f"model: {sentence}", stacklevel=2)


def _tokenize(tokenizer: Any, columns: Sequence[list[str]], max_length: int) -> cache.Arrays:
    columns = [[without_surrogates(text) for text in column] for column in columns]
    encoding = tokenizer(*columns, truncation=True, max_length=max_length)
    types = encoding.get("token_type_ids") if len(columns) == 2 else None
    lists = {"ids": encoding["input_ids"], **({"types": types} if types else {})}
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in encoding["input_ids"]])])
    arrays = {name: np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])) for name, rows in lists.items()}
    return {**arrays, "offsets": offsets.astype(np.int64)}


def without_surrogates(text: str) -> str:
    """Replace lone surrogates, as from an emoji cut in two, by U+FFFD; tokenizers reject them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@lru_cache(maxsize=4)
def fingerprint(tokenizer: Any) -> str:
    """Return all settings of a tokenizer that decide how it splits text, except its last truncation and padding."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        settings = {
            "kind": type(tokenizer).__name__,
            "init": tokenizer.init_kwargs,
            "vocabulary": tokenizer.get_vocab(),
        }
    else:
        settings = {**json.loads(backend.to_str()), "truncation": None, "padding": None}
    return json.dumps(settings, default=str, sort_keys=True)


def _label_array(labels: Sequence[int | float], scale: tuple[float, float] | None) -> np.ndarray:
    if scale is None:
        return np.asarray(labels, dtype=np.int64)
    mean, deviation = scale
    return ((np.asarray(labels) - mean) / deviation).astype(np.float32)


def training_batches(data: Encoded, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the rows of one training batch after another, forever.

    Each epoch shuffles all rows, sorts megabatches of them by length and shuffles the batches, so that little
    is padded and the order depends on ``seed`` alone. A last incomplete batch is dropped, unless it is the
    only one.
    """
    rng = np.random.default_rng(seed)
    megabatch_size = batch_size * _MEGABATCH
    while True:
        order = rng.permutation(len(data))
        if len(order) > batch_size:  # drop rows before the sort, or it would always be the longest ones
            order = order[: len(order) - len(order) % batch_size]
        batches: list[np.ndarray] = []
        for start in range(0, len(order), megabatch_size):
            rows = order[start : start + megabatch_size]
            rows = rows[np.argsort(data.lengths[rows], kind="stable")]
            batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        for i in rng.permutation(len(batches)):
            yield batches[i]


def evaluation_batches(data: Encoded, batch_size: int) -> Iterator[np.ndarray]:
    """Yield the rows of one batch after another: every row once, longest first."""
    order = np.argsort(-data.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
