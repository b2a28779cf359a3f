"""Text to token ids, once; padded batches out, bucketed by length."""

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
_UNKNOWN = 0.3  # share of unknown tokens from which a text cannot be told from others by its words
_MANY = 0.05  # share that is worth a warning
_MEGABATCH = 16  # batches that are shuffled together before they are sorted by length


Texts = TypeVar("Texts", bound="Encoded")


@dataclass(frozen=True)
class Encoded:
    """Token ids of many texts laid end to end: text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: int32 (tokens,).
        types: int32 (tokens,), segment of each token, or None where the model knows none.
        offsets: int64 (texts + 1,).
        labels: int64 (texts,), or float32 (texts,) in a regression, as they are learnt.
        pad_id: id that fills a batch up.
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
        """Yield what tells each text from others: its tokens, and their segments."""
        for start, end in pairwise(self.offsets.tolist()):
            yield self.ids[start:end].tobytes() + (b"" if self.types is None else self.types[start:end].tobytes())

    def tokens_of(self, rows: np.ndarray) -> np.ndarray:
        """Places in ``ids`` of the tokens of some texts, one text behind the other."""
        spans = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        return np.concatenate(spans) if spans else np.zeros(0, dtype=np.int64)

    def take(self, rows: np.ndarray) -> Self:
        """Return some of the texts."""
        places = self.tokens_of(rows)
        return replace(
            self,
            ids=self.ids[places],
            types=None if self.types is None else self.types[places],
            offsets=np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64),
            labels=self.labels[rows],
        )

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """``input_ids``, ``attention_mask`` (and ``token_type_ids``) of (rows, longest), ``labels`` (rows,)."""
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


def join(sets: Sequence[Encoded]) -> tuple[Encoded, list[np.ndarray]]:
    """One set that holds each text of ``sets`` once, and for each set the rows at which its texts stand there.

    Texts are the same when their tokens are; most of a lightly perturbed set is unperturbed. Labels mean nothing in
    the joint set.
    """
    known: dict[bytes, int] = {}
    places: list[np.ndarray] = []
    first: list[Encoded] = []
    for data in sets:
        rows = np.empty(len(data), dtype=np.int64)
        new = []
        for i, key in enumerate(data.keys()):
            if key not in known:
                new.append(i)
            rows[i] = known.setdefault(key, len(known))
        first.append(data.take(np.asarray(new, dtype=np.int64)))
        places.append(rows)
    return joined(first), places


def joined(sets: Sequence[Texts]) -> Texts:
    """All texts of sets of one kind in one set."""
    arrays: dict[str, Any] = {}
    for field in fields(sets[0]):
        parts = [getattr(data, field.name) for data in sets]
        if field.name.endswith("offsets"):
            ends = np.cumsum([0, *(offsets[-1] for offsets in parts)])
            arrays[field.name] = np.concatenate([[0], *(o[1:] + end for o, end in zip(parts, ends, strict=False))])
        elif isinstance(parts[0], np.ndarray):
            arrays[field.name] = np.concatenate(parts)
        else:
            arrays[field.name] = parts[0]
    return type(sets[0])(**arrays)


def encode(
    tokenizer: Any, examples: Sequence[Example], max_length: int, scale: tuple[float, float] | None = None
) -> Encoded:
    """Token ids of all texts, tokenised in one call of a Hugging Face tokenizer; see :mod:`.cache`.

    Args:
        scale: mean and standard deviation that a regression's labels are brought to 0 and 1 from; None for classes.
    """
    sides = [list(side) for side in zip(*(e.texts for e in examples), strict=True)]
    key = cache.digest([fingerprint(tokenizer), str(max_length)], *sides)
    arrays = cache.kept(key, lambda: _tokenised(tokenizer, sides, max_length))
    return Encoded(
        ids=arrays["ids"],
        types=arrays.get("types"),
        offsets=arrays["offsets"],
        labels=_labels([e.label for e in examples], scale),
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
    )


def check_room(tokenizer: Any, max_length: int, sides: int) -> None:
    """Check that ``max_length`` leaves room for a token of each text beside the special ones.

    Raises:
        SlatError: it does not.
    """
    special = tokenizer.num_special_tokens_to_add(sides == 2)
    if max_length < special + sides:
        raise SlatError(
            f"task.max_length: {max_length} tokens leave no room for text, as {special} of them are the tokenizer's own"
        )


def check_tokens(tokenizer: Any, data: Encoded, sides: int, what: str) -> None:
    """Check that a tokenizer knows what it reads.

    Args:
        sides: texts a row, 1 or 2.
        what: is encoded, for messages.

    Raises:
        SlatError: no token is left of the texts, or more of them are unknown than can be right.
    """
    tokens = len(data.ids) - len(data) * tokenizer.num_special_tokens_to_add(sides == 2)
    if tokens <= 0:
        raise SlatError(f"model.name: its tokenizer makes no token of {what}; it is not the model's own, or damaged")
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id):
        return  # it reads every character; the token is there for other purposes
    share = float(np.mean(data.ids == unknown)) * len(data.ids) / tokens
    sentence = f"{share:.0%} of the tokens of {what} are unknown ({tokenizer.unk_token}) to its tokenizer"
    if share > _UNKNOWN:
        raise SlatError(f"model.name: {sentence}; it is not the model's own, or of another language, script or case")
    if share > _MANY:
        warnings.warn(f"model: {sentence}", stacklevel=2)


def _tokenised(tokenizer: Any, sides: Sequence[list[str]], max_length: int) -> cache.Arrays:
    sides = [[whole(text) for text in side] for side in sides]
    out = tokenizer(*sides, truncation=True, max_length=max_length)
    types = out.get("token_type_ids") if len(sides) == 2 else None
    arrays = {"ids": out["input_ids"], **({"types": types} if types else {})}
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in out["input_ids"]])])
    flat = {name: np.fromiter(chain.from_iterable(rows), np.int32, int(offsets[-1])) for name, rows in arrays.items()}
    return {**flat, "offsets": offsets.astype(np.int64)}


def whole(text: str) -> str:
    """Replace lone surrogates, as from an emoji cut in two, by U+FFFD; tokenizers reject them."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@lru_cache(maxsize=4)
def fingerprint(tokenizer: Any) -> str:
    """Return everything that decides how a tokenizer cuts text, but for the length that it was last asked for."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        parts = {"kind": type(tokenizer).__name__, "init": tokenizer.init_kwargs, "vocabulary": tokenizer.get_vocab()}
    else:
        parts = {**json.loads(fast.to_str()), "truncation": None, "padding": None}
    return json.dumps(parts, default=str, sort_keys=True)


def _labels(labels: Sequence[int | float], scale: tuple[float, float] | None) -> np.ndarray:
    if scale is None:
        return np.asarray(labels, dtype=np.int64)
    mean, spread = scale
    return ((np.asarray(labels) - mean) / spread).astype(np.float32)


def training_batches(data: Encoded, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the rows of one training batch after another, for ever.

    Each epoch shuffles all rows, sorts stretches of them by length and shuffles the batches, so that little
    is padded and the order depends on ``seed`` alone. A last incomplete batch is dropped, unless it is the
    only one.
    """
    rng = np.random.default_rng(seed)
    stretch = batch_size * _MEGABATCH
    while True:
        order = rng.permutation(len(data))
        if len(order) > batch_size:  # before they are sorted, or it would always be the longest that are left out
            order = order[: len(order) - len(order) % batch_size]
        batches: list[np.ndarray] = []
        for start in range(0, len(order), stretch):
            near = order[start : start + stretch]
            near = near[np.argsort(data.lengths[near], kind="stable")]
            batches += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
        for i in rng.permutation(len(batches)):
            yield batches[i]


def evaluation_batches(data: Encoded, batch_size: int) -> Iterator[np.ndarray]:
    """Every row once, longest first."""
    order = np.argsort(-data.lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
