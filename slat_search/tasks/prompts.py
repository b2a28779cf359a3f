"""Prompts for causal language models: templates filled with the columns of a row, as token ids."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from ..config.prompt import pieces
from ..errors import SlatError
from . import cache
from .encoding import Batch, Encoded, fingerprint, whole
from .examples import Example

Words = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Template:
    """The prompt of a task and the tokenizer that reads it.

    Attributes:
        tokenizer: of a causal language model.
        roles: of each message; none where the prompt is one text.
        texts: format string of each message, or that of the one text.
        columns: names of the texts of an example.
    """

    tokenizer: Any
    roles: tuple[str, ...]
    texts: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def of(
        cls, tokenizer: Any, columns: Sequence[str], prompt: str | None, messages: Sequence[Mapping[str, str]] = ()
    ) -> Template:
        """Return the template of a prompt, or of the ``messages`` (``role``, ``content``) in its place.

        Raises:
            SlatError: messages, and a tokenizer without a chat template.
        """
        roles = tuple(message["role"] for message in messages)
        if roles and not getattr(tokenizer, "chat_template", None):
            raise SlatError("task.messages: the model's tokenizer has no chat template; write a prompt instead")
        texts = tuple(message["content"] for message in messages)
        if prompt is not None:
            texts = (prompt.rstrip(" "),)  # the space belongs to the words that follow
        return cls(tokenizer, roles, texts, tuple(columns))

    def filled(self, texts: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
        """Return the prompt of one row, and the spans of its characters that come from columns.

        Raises:
            SlatError: the chat template takes no such messages.
        """
        row = dict(zip(self.columns, texts, strict=True))
        messages, fields = [], []
        for template in self.texts:
            content = ""
            for literal, column in pieces(template):
                content += literal
                if column is not None:
                    fields.append(row[column])
                    content += row[column]
            messages.append(content)
        prompt = self._chat(messages) if self.roles else messages[0]
        return prompt, _spans(prompt, fields)

    def _chat(self, contents: Sequence[str]) -> str:
        messages = [{"role": role, "content": text} for role, text in zip(self.roles, contents, strict=True)]
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates are programs, and raise what they like
            raise SlatError(f"task.messages: the tokenizer's chat template refuses them: {error}") from error

    @property
    def start(self) -> list[int]:
        """Token ids that stand before every prompt; a chat template writes its own."""
        bos = self.tokenizer.bos_token_id
        begins = bos is not None and not self.roles and self.tokenizer("a")["input_ids"][:1] == [bos]
        return [bos] if begins else []

    def words(self, words: Sequence[str]) -> Words:
        """Return the token ids of the words of each label, as they continue a prompt.

        Between a prompt and words stands a space where neither brings white space, but not in a chat.

        Raises:
            SlatError: words without a token, or two that have the same tokens.
        """
        prompt, _ = self.filled(["x"] * len(self.columns))
        glue = "" if self.roles or prompt[-1:].isspace() else " "
        ids = [self._continued(prompt, word if word[:1].isspace() else glue + word) for word in words]
        for word, tokens in zip(words, ids, strict=True):
            if not tokens:
                raise SlatError(f"task.response: the model's tokenizer makes no token of {word!r}")
            if ids.count(tokens) > 1:
                raise SlatError(f"task.response: the model's tokenizer cannot tell {word!r} from the words of another")
        return tuple(ids)

    def _continued(self, prompt: str, words: str) -> tuple[int, ...]:
        """Token ids of ``words`` behind ``prompt``; of the words alone where they melt into its last token."""
        texts = [prompt, prompt + words, words]
        before, both, alone = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return tuple(both[len(before) :] if both[: len(before)] == before else alone)


def _spans(prompt: str, fields: Sequence[str]) -> list[tuple[int, int]]:
    """Where ``fields`` stand in a prompt, one behind the other; chat templates strip what surrounds them."""
    spans, place = [], 0
    for field in fields:
        start = prompt.find(field, place)
        if start < 0:
            field = field.strip()
            start = prompt.find(field, place)
        if start >= 0:
            place = start + len(field)
            spans.append((start, place))
    return spans


@dataclass(frozen=True)
class Prompts(Encoded):
    """Encoded prompts, which a batch pads on the left, so that all of them end together.

    Attributes:
        own: bool (tokens,), which come from columns; noise leaves the others alone.
    """

    own: np.ndarray

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """As of :class:`Encoded`, padded on the left, with ``own`` of (rows, longest)."""
        batch = super().batch(rows)
        mask = batch["attention_mask"].flip(1).numpy().astype(bool)
        arrays = {
            "input_ids": np.full(mask.shape, self.pad_id, dtype=np.int64),
            "own": np.zeros(mask.shape, dtype=bool),
        }
        places = self.tokens_of(np.asarray(rows))
        arrays["input_ids"][mask], arrays["own"][mask] = self.ids[places], self.own[places]
        padded = {name: torch.from_numpy(values) for name, values in arrays.items()}
        return {**padded, "attention_mask": torch.from_numpy(mask.astype(np.int64)), "labels": batch["labels"]}

    def take(self, rows: np.ndarray) -> Prompts:
        """Return some of the texts."""
        return replace(super().take(rows), own=self.own[self.tokens_of(rows)])


def encode_prompts(template: Template, examples: Sequence[Example], room: int, what: str = "") -> Prompts:
    """Token ids of the prompts of all rows. Those of more than ``room`` tokens lose their beginning.

    Args:
        what: is encoded, for the warning about prompts that are cut.
    """
    filled = [template.filled(example.texts) for example in examples]
    start = template.start
    form = json.dumps([template.roles, template.texts, start, room])
    key = cache.digest([fingerprint(template.tokenizer), form], *([text for text, _ in filled],))
    arrays = cache.kept(key, lambda: _tokenized(template.tokenizer, filled, start, room))
    if what and (cut := int(arrays["cut"].sum())):
        warnings.warn(f"{cut:,} of the {what} are cut from the left to {room} tokens", stacklevel=2)
    return Prompts(
        ids=arrays["ids"],
        types=None,
        offsets=arrays["offsets"],
        labels=np.asarray([example.label for example in examples], dtype=np.int64),
        pad_id=template.tokenizer.pad_token_id,
        own=arrays["own"],
    )


def _tokenized(
    tokenizer: Any, filled: Sequence[tuple[str, list[tuple[int, int]]]], start: list[int], room: int
) -> cache.Arrays:
    fast = bool(getattr(tokenizer, "is_fast", False))
    texts = [whole(text) for text, _ in filled]
    out = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=fast)
    rows, own, cut = [], [], []
    left = room - len(start)
    for number, ids in enumerate(out["input_ids"]):
        # without offsets nothing says which tokens are the template's
        mine = _inside(out["offset_mapping"][number], filled[number][1]) if fast else [True] * len(ids)
        rows.append([*start, *ids[max(0, len(ids) - left) :]])
        own.append([*(False for _ in start), *mine[max(0, len(ids) - left) :]])
        cut.append(len(ids) > left)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    size = int(offsets[-1])
    return {
        "ids": np.fromiter(chain.from_iterable(rows), np.int32, size),
        "own": np.fromiter(chain.from_iterable(own), np.bool_, size),
        "offsets": offsets,
        "cut": np.asarray(cut, dtype=np.bool_),
    }


def _inside(tokens: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether each token's characters lie in one of the ``spans``, but for a space before them."""
    return [any(start - 1 <= a and b <= end and b > start for start, end in spans) for a, b in tokens]
