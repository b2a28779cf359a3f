"""Prompts for causal language models, as token ids."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from . import cache
from .encoding import Batch, Encoded, fingerprint, without_surrogates
from .examples import Example
from .template import Spans, Template

NONE = -1  # pads the response tokens of a batch


@dataclass(frozen=True)
class Prompts(Encoded):
    """Encoded prompts, which a batch pads on the left, so that all of them end at the same position.

    Attributes:
        own: bool (tokens,), whether each token comes from a column; noise spares the others.
    """

    own: np.ndarray

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Return the batch of :class:`.Encoded`, padded on the left, with ``own`` of (rows, longest)."""
        rows = np.asarray(rows)
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max())[None, ::-1] < lengths[:, None]
        ids, own = np.full(mask.shape, self.pad_id, dtype=np.int64), np.zeros(mask.shape, dtype=bool)
        positions = self.tokens_of(rows)
        ids[mask], own[mask] = self.ids[positions], self.own[positions]
        arrays = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "own": own, "labels": self.labels[rows]}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def take(self, rows: np.ndarray) -> Prompts:
        """Return some of the texts."""
        return replace(super().take(rows), own=self.own[self.tokens_of(rows)])


def encode_prompts(
    template: Template, examples: Sequence[Example], room: int | np.ndarray, source: str = ""
) -> Prompts:
    """Return the token ids of the prompts of all rows. Those of more than ``room`` tokens are cut from the left.

    Args:
        room: tokens for each prompt: one number for all, or (rows,).
        source: name of the prompts, for the warning that some are cut; empty for no warning.
    """
    prompts = [template.filled(example) for example in examples]
    start = template.start
    room = np.broadcast_to(room, len(examples))
    settings = json.dumps([template.roles, template.texts, start, room.tolist()])
    key = cache.digest([fingerprint(template.tokenizer), settings], [text for text, _ in prompts])
    arrays = cache.cached_arrays(key, lambda: _tokenize(template.tokenizer, prompts, start, room))
    if source and (count := int(arrays["cut"].sum())):
        min_room = int(room[arrays["cut"]].min())
        warnings.warn(f"{count:,} of the {source} are cut from the left, to {min_room} tokens at least", stacklevel=2)
    return Prompts(
        ids=arrays["ids"],
        types=None,
        offsets=arrays["offsets"],
        labels=np.asarray([example.label for example in examples], dtype=np.int64),
        pad_id=template.tokenizer.pad_token_id,
        own=arrays["own"],
    )


def _tokenize(tokenizer: Any, prompts: Sequence[tuple[str, Spans]], start: list[int], room: np.ndarray) -> cache.Arrays:
    is_fast = bool(getattr(tokenizer, "is_fast", False))
    texts = [without_surrogates(text) for text, _ in prompts]
    encoding = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=is_fast)
    rows, own, cut = [], [], []
    for number, ids in enumerate(encoding["input_ids"]):
        max_ids = int(room[number]) - len(start)
        # without offsets nothing says which tokens are the template's
        flags = _in_spans(encoding["offset_mapping"][number], prompts[number][1]) if is_fast else [True] * len(ids)
        rows.append([*start, *ids[max(0, len(ids) - max_ids) :]])
        own.append([*(False for _ in start), *flags[max(0, len(ids) - max_ids) :]])
        cut.append(len(ids) > max_ids)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    count = int(offsets[-1])
    return {
        "ids": np.fromiter(chain.from_iterable(rows), np.int32, count),
        "own": np.fromiter(chain.from_iterable(own), np.bool_, count),
        "offsets": offsets,
        "cut": np.asarray(cut, dtype=np.bool_),
    }


def _in_spans(tokens: Sequence[tuple[int, int]], spans: Spans) -> list[bool]:
    """Return whether the characters of each token lie in one of the ``spans``, apart from a space before them."""
    return [any(start - 1 <= a and b <= end and b > start for start, end in spans) for a, b in tokens]
