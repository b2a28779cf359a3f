"""Templates of prompts, filled with the columns of a row, and the tokens of the responses to them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..config.prompt import ALPACA, pieces
from ..errors import SlatError
from .encoding import without_surrogates
from .examples import Example

Words = tuple[tuple[int, ...], ...]
_MARK = "\ue000response\ue001"  # private use characters, which no chat template contains
Spans = list[tuple[int, int]]  # start and end of ranges of characters
_CONTEXT = 16  # last characters of a prompt, which decide how the tokens of its response begin


@dataclass(frozen=True)
class Template:
    """The prompt of a task and the tokenizer that reads it.

    Attributes:
        tokenizer: tokenizer of a causal language model.
        roles: role of each message; empty where the prompt is one text, or where rows hold whole chats.
        texts: format string of each message, or of the one text; empty where rows hold whole chats.
        columns: names of the texts of an example.
        without: format string that replaces the text for rows whose last column is empty.
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
        """Return the template of a prompt, or of the ``messages`` (``role``, ``content``) that replace it; without
        either, that of whole chats.

        Raises:
            SlatError: messages or whole chats, and a tokenizer without a chat template.
        """
        roles = tuple(message["role"] for message in messages)
        if (roles or prompt is None) and not getattr(tokenizer, "chat_template", None):
            raise SlatError("task.messages: the model's tokenizer has no chat template; write a prompt instead")
        texts, without = tuple(message["content"] for message in messages), ""
        if prompt is not None:
            prompt, without = ALPACA.get(prompt, (prompt.rstrip(" "), ""))  # the space belongs to the response
            texts = (prompt,)
        return cls(tokenizer, roles, texts, tuple(columns), without)

    def filled(self, example: Example) -> tuple[str, Spans]:
        """Return the prompt of one row, and the spans of its characters that come from columns; where the row holds a
        chat, the spans of the user's messages.

        Raises:
            SlatError: the chat template rejects the messages.
        """
        roles, contents = example.roles or self.roles, example.texts
        content_spans: list[Spans]
        if example.roles:
            content_spans = [
                [(0, len(text))] if role == "user" else [] for role, text in zip(roles, contents, strict=True)
            ]
        else:
            row = dict(zip(self.columns, example.texts, strict=True))
            format_strings = (self.without,) if self.without and not example.texts[-1].strip() else self.texts
            messages = [_fill(format_string, row) for format_string in format_strings]
            contents, content_spans = tuple(text for text, _ in messages), [spans for _, spans in messages]
        if not roles:
            return contents[0], content_spans[0]
        prompt = self._render(roles, contents)
        return prompt, _spans_in_chat(prompt, contents, content_spans, self._markup(roles))

    def _markup(self, roles: tuple[str, ...]) -> list[str] | None:
        """Return the text that the chat template writes before, between and after messages of these roles; None where
        it cannot be determined."""
        if roles not in self._markup_cache:
            marks = [f"\ue000{number}\ue001" for number in range(len(roles))]
            markup: list[str] = []
            try:
                suffix = self._render(roles, marks)
            except SlatError:  # the template depends on the contents of the messages
                suffix = ""
            for mark in marks:
                prefix, _, suffix = suffix.partition(mark)
                markup.append(prefix)
            self._markup_cache[roles] = [*markup, suffix] if suffix or any(markup) else None
        return self._markup_cache[roles]

    @cached_property
    def _markup_cache(self) -> dict[tuple[str, ...], list[str] | None]:
        return {}

    def _render(self, roles: Sequence[str], contents: Sequence[str], response: str | None = None) -> str:
        """Return messages as text: with the response of the assistant, or up to the place where it begins."""
        messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]
        messages += [{"role": "assistant", "content": response}] if response is not None else []
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=response is None)
        except Exception as error:  # templates are programs, and raise anything
            raise SlatError(f"task.messages: the tokenizer's chat template refuses them: {error}") from error

    @cached_property
    def end(self) -> list[int]:
        """Token ids that end a response: those of the chat template after a message, or the end of text."""
        eos_id = self.tokenizer.eos_token_id
        if self.is_chat:
            _, _, suffix = self._marked_chat.rpartition(_MARK)
            ids = self.tokenizer(suffix, add_special_tokens=False)["input_ids"]
            if suffix.strip():
                return ids
            return [*ids, eos_id] if eos_id is not None else ids  # white space may be a part of a response
        return [eos_id] if eos_id is not None else []

    @property
    def _marked_chat(self) -> str:
        """Text of a chat with the mark as response; with a system message where the chat template requires one."""
        roles = self.roles or ("user",)
        try:
            return self._render(roles, ["x"] * len(roles), _MARK)
        except SlatError:
            return self._render(("system", "user"), ("x", "x"), _MARK)

    @property
    def stop(self) -> tuple[int, ...]:
        """Token ids at which generation stops: :attr:`end` without the white space at its end."""
        ids = list(self.end)
        if ids[-1:] == [self.tokenizer.eos_token_id]:
            return tuple(ids[-1:])
        while len(ids) > 1 and not self.tokenizer.decode(ids[-1:]).strip():
            ids.pop()
        return tuple(ids)

    def responses(self, examples: Sequence[Example]) -> list[list[int]]:
        """Return the token ids of the response of each row, as they continue its prompt, with its end tokens."""
        if not self.end:
            warnings.warn(
                "the tokenizer has no end of text (eos_token), so that responses end at max_new_tokens alone",
                stacklevel=2,
            )
        contexts = self._contexts(examples)
        responses = self._continuations(contexts, [self._with_space(example.response) for example in examples])
        return [[*ids, *self.end] for ids in responses]

    def _contexts(self, examples: Sequence[Example]) -> list[str]:
        """Return the last characters of the prompt of each row; those of chats are the same, as the chat template
        writes them before every response."""
        if self.is_chat:
            return [self._marked_chat.rpartition(_MARK)[0][-_CONTEXT:]] * len(examples)
        return [self.filled(example)[0][-_CONTEXT:] for example in examples]

    def _with_space(self, response: str) -> str:
        """Return a response as it follows a prompt: after a space, except in a chat or where the prompt ends or the
        response begins with white space."""
        return response if self.is_chat or response[:1].isspace() or self._ends_with_space else f" {response}"

    @property
    def is_chat(self) -> bool:
        """Whether the tokenizer's chat template writes the prompts."""
        return bool(self.roles) or not self.texts

    @property
    def _ends_with_space(self) -> bool:
        """Whether a prompt ends with white space."""
        literal, column = pieces(self.texts[0])[-1]
        return column is None and literal[-1:].isspace()

    @property
    def start(self) -> list[int]:
        """Token ids before every prompt, which the tokenizer adds; a chat template writes its own."""
        bos_id = self.tokenizer.bos_token_id
        has_bos = bos_id is not None and not self.is_chat and self.tokenizer("a")["input_ids"][:1] == [bos_id]
        return [bos_id] if has_bos else []

    def words(self, words: Sequence[str]) -> Words:
        """Return the token ids of the words of each label, as they continue a prompt.

        Raises:
            SlatError: words without a token, or words of two labels with the same tokens.
        """
        prompt, _ = self.filled(Example(("x",) * len(self.columns), 0))
        word_ids = self._continuations([prompt] * len(words), [self._with_space(word) for word in words])
        for word, ids in zip(words, word_ids, strict=True):
            if not ids:
                raise SlatError(f"task.response: the model's tokenizer makes no token of {word!r}")
            if word_ids.count(ids) > 1:
                raise SlatError(f"task.response: the model's tokenizer cannot tell {word!r} from the words of another")
        return tuple(word_ids)

    def _continuations(self, prompts: Sequence[str], responses: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the token ids of each response after its prompt; those of the response alone where its first token
        merges with the last one of the prompt."""
        pairs = [f"{prompt}{response}" for prompt, response in zip(prompts, responses, strict=True)]
        texts = [without_surrogates(text) for text in (*prompts, *pairs, *responses)]
        ids, count = self.tokenizer(texts, add_special_tokens=False)["input_ids"], len(responses)
        return [
            tuple(pair[len(prompt) :] if pair[: len(prompt)] == prompt else response)
            for prompt, pair, response in zip(ids[:count], ids[count : 2 * count], ids[2 * count :], strict=True)
        ]


def _fill(format_string: str, row: Mapping[str, str]) -> tuple[str, Spans]:
    """Return a format string filled with the columns of a row, and the spans that come from them."""
    text, spans = "", []
    for literal, column in pieces(format_string):
        text += literal
        if column is not None:
            spans.append((len(text), len(text) + len(row[column])))
            text += row[column]
    return text, spans


def _spans_in_chat(
    prompt: str, contents: Sequence[str], content_spans: Sequence[Spans], markup: Sequence[str] | None
) -> Spans:
    """Return the spans of a rendered chat from those of its messages, whose ends a chat template may strip.

    Args:
        markup: texts before, between and after the messages; None to search for each message in the prompt.
    """
    for texts in (contents, [content.strip() for content in contents]):
        starts, position = [], 0
        for prefix, text in zip(markup or (), texts, strict=False):
            starts.append(position + len(prefix))
            position = starts[-1] + len(text)
        if markup and prompt == "".join(prefix + text for prefix, text in zip(markup, [*texts, ""], strict=True)):
            break
    else:
        starts, position = [], 0
        for text in texts:
            start = prompt.find(text, position)
            starts.append(start)
            position = max(position, start + len(text))
    chat_spans = []
    for content, text, start, spans in zip(contents, texts, starts, content_spans, strict=True):
        offset = content.find(text)  # length of the white space that the template has stripped
        text_spans = [(max(0, a - offset), min(len(text), b - offset)) for a, b in spans]
        chat_spans += [(start + a, start + b) for a, b in text_spans if start >= 0 and b > a]
    return chat_spans
