"""Prompts with their responses, as token ids, on which a causal language model is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from textwrap import shorten
from typing import Self

import numpy as np
import torch

from ..errors import SlatError
from .encoding import Batch
from .examples import Example
from .prompts import NONE, Prompts, encode_prompts
from .template import Template


@dataclass(frozen=True)
class Responses(Prompts):
    """Encoded prompts and, laid end to end like them, the tokens of their responses, each with its end tokens.

    ``labels`` are zeros, float32: the quality of a response is a number, as in a regression.

    Attributes:
        response_ids: int32 (tokens,).
        response_offsets: int64 (texts + 1,).
    """

    response_ids: np.ndarray
    response_offsets: np.ndarray

    @property
    def response_lengths(self) -> np.ndarray:
        """Tokens of each response, (texts,)."""
        return np.diff(self.response_offsets)

    def response(self, row: int) -> np.ndarray:
        """Return the token ids of a response."""
        return self.response_ids[self.response_offsets[row] : self.response_offsets[row + 1]]

    def keys(self) -> Iterator[bytes]:
        """Yield a key of each text as of :class:`.Encoded`, with the response."""
        for row, key in enumerate(super().keys()):
            yield key + b"|" + self.response(row).tobytes()

    def weight(self, rows: np.ndarray) -> float:
        """Return the number of tokens of the responses: each token counts the same in a loss."""
        return float(self.response_lengths[rows].sum())

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Return the batch of :class:`.Prompts` with ``responses`` of (rows, longest), padded with -1."""
        rows = np.asarray(rows)
        lengths = self.response_lengths[rows]
        responses = np.full((len(rows), int(lengths.max())), NONE, dtype=np.int64)
        for i, row in enumerate(rows):
            responses[i, : lengths[i]] = self.response(row)
        return {**super().batch(rows), "responses": torch.from_numpy(responses)}

    def take(self, rows: np.ndarray) -> Responses:
        """Return some of the texts."""
        return _with_responses(super().take(rows), [self.response(row) for row in rows])

    def answered_by(self, rows: np.ndarray) -> Self:
        """Return the same prompts, each with the response of another row."""
        ids, offsets = _flatten([self.response(row) for row in rows])
        return replace(self, response_ids=ids, response_offsets=offsets)


def _flatten(responses: Sequence[Sequence[int] | np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the token ids of responses laid end to end, and their offsets."""
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in responses])]).astype(np.int64)
    ids = np.fromiter(chain.from_iterable(responses), np.int32, int(offsets[-1]))
    return ids, offsets


def encode_responses(template: Template, examples: Sequence[Example], max_length: int, source: str = "") -> Responses:
    """Return the token ids of prompts and responses of all rows. A prompt is cut from the left where prompt and
    response together are longer than ``max_length``; a response is never cut.

    Args:
        source: name of the texts, for messages.

    Raises:
        SlatError: responses that leave no room for a token of their prompt.
    """
    responses = template.responses(examples)
    lengths = np.array([len(ids) for ids in responses])
    room = max_length - lengths
    min_room = len(template.start) + 1
    if len(rows := np.flatnonzero(room < min_room)):
        response = shorten(examples[rows[0]].response, 60, placeholder=" ...")
        raise SlatError(
            f"task.max_length: {len(rows):,} responses of the {source} have no room in {max_length} tokens, "
            f"the first of {lengths[rows[0]]:,} tokens: {response!r}"
        )
    prompts = encode_prompts(template, examples, room, source)
    return _with_responses(replace(prompts, labels=np.zeros(len(examples), dtype=np.float32)), responses)


def _with_responses(prompts: Prompts, responses: Sequence[Sequence[int] | np.ndarray]) -> Responses:
    ids, offsets = _flatten(responses)
    values = {field.name: getattr(prompts, field.name) for field in fields(Prompts)}
    return Responses(**values, response_ids=ids, response_offsets=offsets)
