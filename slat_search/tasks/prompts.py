"""Prompts for causal language models: templates filled with the columns of a row, as token ids."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch

from ..config.prompt import ALPACA, pieces
from ..errors import SlatError
from . import cache
from .encoding import Batch, Encoded, fingerprint, whole
from .examples import Example

Words = tuple[tuple[int, ...], ...]
NONE = -1  # pads the response tokens of a batch
_MARK = "\ue000response\ue001"  # of private use, so that no template has it
Spans = list[tuple[int, int]]  # of characters
_END = 16  # characters of a prompt, which tell how the tokens behind it begin


@dataclass(frozen=True)
class Template:
    """The prompt of a task and the tokenizer that reads it.

    Attributes:
        tokenizer: of a causal language model.
        roles: of each message; none where the prompt is one text, or where rows hold whole chats.
        texts: format string of each message, or that of the one text; none where rows hold whole chats.
        columns: names of the texts of an example.
        without: format string in the place of the text, for rows whose last column is empty.
    """

    tokenizer: Any
    roles: tuple[str, ...]
    texts: tuple[str, ...]
    columns: tuple[str, ...]
    without: str = ""

    @classmethod
    def of(
        cls, tokenizer: Any, columns: Sequence[str], prompt: str | None, messages: Sequence[Mapping[str, str]] = ()
    ) -> Template:
        """Return the template of a prompt, or of the ``messages`` (``role``, ``content``) in its place; of whole chats
        without either.

        Raises:
            SlatError: messages, and a tokenizer without a chat template.
        """
        roles = tuple(message["role"] for message in messages)
        if (roles or prompt is None) and not getattr(tokenizer, "chat_template", None):
            raise SlatError("task.messages: the model's tokenizer has no chat template; write a prompt instead")
        texts, without = tuple(message["content"] for message in messages), ""
        if prompt is not None:
            prompt, without = ALPACA.get(prompt, (prompt.rstrip(" "), ""))  # the space belongs to what follows
            texts = (prompt,)
        return cls(tokenizer, roles, texts, tuple(columns), without)

    def filled(self, example: Example) -> tuple[str, list[tuple[int, int]]]:
        """Return the prompt of one row, and the spans of its characters that come from columns; of a chat that the row
        holds, those of the user's messages.

        Raises:
            SlatError: the chat template takes no such messages.
        """
        roles, contents = example.roles or self.roles, example.texts
        own: list[Spans]
        if example.roles:
            own = [[(0, len(text))] if role == "user" else [] for role, text in zip(roles, contents, strict=True)]
        else:
            row = dict(zip(self.columns, example.texts, strict=True))
            bare = self.without and not example.texts[-1].strip()
            templates = (self.without,) if bare else self.texts
            filled = [_fill(template, row) for template in templates]
            contents, own = tuple(text for text, _ in filled), [spans for _, spans in filled]
        if not roles:
            return contents[0], own[0]
        prompt = self._chat(roles, contents)
        return prompt, _spans_in(prompt, contents, own, self._around(roles))

    def _around(self, roles: tuple[str, ...]) -> list[str] | None:
        """Return what the chat template writes before, between and behind messages of these roles; None where that
        cannot be told."""
        if roles not in self._known:
            marks = [f"\ue000{number}\ue001" for number in range(len(roles))]
            around: list[str] = []
            try:
                rest = self._chat(roles, marks)
            except SlatError:  # the template looks into the messages
                rest = ""
            for mark in marks:
                before, _, rest = rest.partition(mark)
                around.append(before)
            self._known[roles] = [*around, rest] if rest or any(around) else None
        return self._known[roles]

    @cached_property
    def _known(self) -> dict[tuple[str, ...], list[str] | None]:
        return {}

    def _chat(self, roles: Sequence[str], contents: Sequence[str], response: str | None = None) -> str:
        messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]
        messages += [{"role": "assistant", "content": response}] if response is not None else []
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=response is None)
        except Exception as error:  # templates are programs, and raise anything
            raise SlatError(f"task.messages: the tokenizer's chat template refuses them: {error}") from error

    @cached_property
    def end(self) -> list[int]:
        """Token ids that end a response: those of the chat template behind a message, or the tokenizer's own."""
        end = self.tokenizer.eos_token_id
        if self.is_chat:
            _, _, behind = self._answered.rpartition(_MARK)
            ids = self.tokenizer(behind, add_special_tokens=False)["input_ids"]
            if behind.strip():
                return ids
            return [*ids, end] if end is not None else ids  # white space may be a part of a response
        return [end] if end is not None else []

    @property
    def _answered(self) -> str:
        """A chat whose last message, the assistant's, is the mark; with a system message where one is wanted."""
        asked = self.roles or ("user",)
        try:
            return self._chat(asked, ["x"] * len(asked), _MARK)
        except SlatError:
            return self._chat(("system", "user"), ("x", "x"), _MARK)

    @property
    def stop(self) -> tuple[int, ...]:
        """Token ids at which a response that is generated is over: :attr:`end` without white space behind it."""
        end = list(self.end)
        if end[-1:] == [self.tokenizer.eos_token_id]:
            return tuple(end[-1:])
        while len(end) > 1 and not self.tokenizer.decode(end[-1:]).strip():
            end.pop()
        return tuple(end)

    def responses(self, examples: Sequence[Example]) -> list[list[int]]:
        """Return the token ids of the response of each row, as they continue its prompt, and what ends them."""
        if not self.end:
            warnings.warn(
                "the tokenizer has no end of text (eos_token), so that responses end at max_new_tokens alone",
                stacklevel=2,
            )
        ends = self._ends_of_prompts(examples)
        ids = self._continued(ends, [self._glued(example.response) for example in examples])
        return [[*tokens, *self.end] for tokens in ids]

    def _ends_of_prompts(self, examples: Sequence[Example]) -> list[str]:
        """Return the last characters of the prompt of each row, of chats what the chat template writes before all."""
        if self.is_chat:
            return [self._answered.rpartition(_MARK)[0][-_END:]] * len(examples)
        return [self.filled(example)[0][-_END:] for example in examples]

    def _glued(self, words: str) -> str:
        """Return what follows a prompt: between both stands a space where neither brings white space, but not in a
        chat."""
        return words if self.is_chat or words[:1].isspace() or self._brings_space else f" {words}"

    @property
    def is_chat(self) -> bool:
        """Whether the tokenizer's chat template writes the prompts."""
        return bool(self.roles) or not self.texts

    @property
    def _brings_space(self) -> bool:
        """Whether a prompt ends with white space."""
        literal, column = pieces(self.texts[0])[-1]
        return column is None and literal[-1:].isspace()

    @property
    def start(self) -> list[int]:
        """Token ids before every prompt; a chat template writes its own."""
        bos = self.tokenizer.bos_token_id
        begins = bos is not None and not self.is_chat and self.tokenizer("a")["input_ids"][:1] == [bos]
        return [bos] if begins else []

    def words(self, words: Sequence[str]) -> Words:
        """Return the token ids of the words of each label, as they continue a prompt.

        Raises:
            SlatError: words without a token, or two that have the same tokens.
        """
        prompt, _ = self.filled(Example(("x",) * len(self.columns), 0))
        ids = self._continued([prompt] * len(words), [self._glued(word) for word in words])
        for word, tokens in zip(words, ids, strict=True):
            if not tokens:
                raise SlatError(f"task.response: the model's tokenizer makes no token of {word!r}")
            if ids.count(tokens) > 1:
                raise SlatError(f"task.response: the model's tokenizer cannot tell {word!r} from the words of another")
        return tuple(ids)

    def _continued(self, prompts: Sequence[str], words: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of the words behind each prompt; of the words alone if they merge with its last token."""
        both = [f"{prompt}{own}" for prompt, own in zip(prompts, words, strict=True)]
        texts = [whole(text) for text in (*prompts, *both, *words)]
        ids, count = self.tokenizer(texts, add_special_tokens=False)["input_ids"], len(words)
        return [
            tuple(after[len(before) :] if after[: len(before)] == before else alone)
            for before, after, alone in zip(ids[:count], ids[count : 2 * count], ids[2 * count :], strict=True)
        ]


def _fill(template: str, row: Mapping[str, str]) -> tuple[str, Spans]:
    """Return a format string filled with the columns of a row, and the spans that come from them."""
    text, spans = "", []
    for literal, column in pieces(template):
        text += literal
        if column is not None:
            spans.append((len(text), len(text) + len(row[column])))
            text += row[column]
    return text, spans


def _spans_in(prompt: str, contents: Sequence[str], own: Sequence[Spans], around: Sequence[str] | None) -> Spans:
    """Return the spans of a rendered chat from those of its messages, whose ends a chat template may strip.

    Args:
        around: what stands before, between and behind the messages; None to look for each message in the prompt.
    """
    for texts in (contents, [content.strip() for content in contents]):
        places, place = [], 0
        for before, text in zip(around or (), texts, strict=False):
            places.append(place + len(before))
            place = places[-1] + len(text)
        if around and prompt == "".join(a + text for a, text in zip(around, [*texts, ""], strict=True)):
            break
    else:
        places, place = [], 0
        for text in texts:
            start = prompt.find(text, place)
            places.append(start)
            place = max(place, start + len(text))
    spans = []
    for content, text, start, inside in zip(contents, texts, places, own, strict=True):
        cut = content.find(text)  # white space that the template has stripped
        moved = [(max(0, a - cut), min(len(text), b - cut)) for a, b in inside]
        spans += [(start + a, start + b) for a, b in moved if start >= 0 and b > a]
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
        rows = np.asarray(rows)
        lengths = self.lengths[rows]
        mask = np.arange(lengths.max())[None, ::-1] < lengths[:, None]
        ids, own = np.full(mask.shape, self.pad_id, dtype=np.int64), np.zeros(mask.shape, dtype=bool)
        places = self.tokens_of(rows)
        ids[mask], own[mask] = self.ids[places], self.own[places]
        arrays = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "own": own, "labels": self.labels[rows]}
        return {name: torch.from_numpy(values) for name, values in arrays.items()}

    def take(self, rows: np.ndarray) -> Prompts:
        """Return some of the texts."""
        return replace(super().take(rows), own=self.own[self.tokens_of(rows)])


def encode_prompts(template: Template, examples: Sequence[Example], room: int | np.ndarray, what: str = "") -> Prompts:
    """Token ids of the prompts of all rows. Those of more than ``room`` tokens lose their beginning.

    Args:
        room: for all, or for each, (rows,).
        what: is encoded, for the warning about prompts that are cut.
    """
    filled = [template.filled(example) for example in examples]
    start = template.start
    room = np.broadcast_to(room, len(examples))
    form = json.dumps([template.roles, template.texts, start, room.tolist()])
    key = cache.digest([fingerprint(template.tokenizer), form], *([text for text, _ in filled],))
    arrays = cache.kept(key, lambda: _tokenized(template.tokenizer, filled, start, room))
    if what and (cut := int(arrays["cut"].sum())):
        least = int(room[arrays["cut"]].min())
        warnings.warn(f"{cut:,} of the {what} are cut from the left, to {least} tokens at least", stacklevel=2)
    return Prompts(
        ids=arrays["ids"],
        types=None,
        offsets=arrays["offsets"],
        labels=np.asarray([example.label for example in examples], dtype=np.int64),
        pad_id=template.tokenizer.pad_token_id,
        own=arrays["own"],
    )


def _tokenized(
    tokenizer: Any, filled: Sequence[tuple[str, list[tuple[int, int]]]], start: list[int], room: np.ndarray
) -> cache.Arrays:
    fast = bool(getattr(tokenizer, "is_fast", False))
    texts = [whole(text) for text, _ in filled]
    out = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=fast)
    rows, own, cut = [], [], []
    for number, ids in enumerate(out["input_ids"]):
        left = int(room[number]) - len(start)
        # without offsets nothing says which tokens are the template's
        inside = _inside(out["offset_mapping"][number], filled[number][1]) if fast else [True] * len(ids)
        rows.append([*start, *ids[max(0, len(ids) - left) :]])
        own.append([*(False for _ in start), *inside[max(0, len(ids) - left) :]])
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
