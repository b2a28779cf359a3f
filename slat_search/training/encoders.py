"""Encoders of a task's texts into token ids: for a head, as prompts, or as prompts with responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..config import Config, Task
from ..errors import SlatError
from ..models.backbone import Backbone
from ..tasks import (
    Encoded,
    Example,
    TaskData,
    Template,
    Words,
    check_room,
    encode,
    encode_prompts,
    encode_responses,
)


class Encoder(NamedTuple):
    """Turns the texts of a task into token ids.

    Attributes:
        encode: takes examples, and their name for a warning.
        words: token ids of the words of each label; none with a head and for responses.
        stop: token ids that end a response.
    """

    encode: Callable[[Sequence[Example], str], Encoded]
    words: Words = ()
    stop: tuple[int, ...] = ()


def encoder_for(config: Config, backbone: Backbone, task: TaskData) -> Encoder:
    """Return the encoder of a task for a model.

    Raises:
        SlatError: a length that the model does not take or that leaves no room, or words that do not fit the labels.
    """
    _check_length(config.task, backbone.longest)
    return (_prompt_encoder if config.task.is_prompted else _text_encoder)(config, backbone, task)


def _check_length(task: Task, limit: int | None) -> None:
    """Check that texts, and responses after them, are not longer than the ``limit`` of a model.

    Raises:
        SlatError: they are longer.
    """
    if limit is not None and task.max_length > limit:
        raise SlatError(f"task.max_length: {task.max_length} tokens are more than the {limit} that the model takes")
    max_new_tokens = task.max_new_tokens if task.is_generated else 0
    if limit is not None and task.max_length + max_new_tokens > limit:
        raise SlatError(
            f"task.max_length: {task.max_length} tokens and the {max_new_tokens} of a response (task.max_new_tokens) "
            f"are more than the {limit} that the model takes; {limit - max_new_tokens} leave room"
        )


def _text_encoder(config: Config, backbone: Backbone, task: TaskData) -> Encoder:
    """Return the encoder of texts that a head reads."""
    tokenizer, max_length = backbone.tokenizer, config.task.max_length
    check_room(tokenizer, max_length, len(config.task.text))
    scale = None if task.labels else task.scale
    return Encoder(lambda examples, _: encode(tokenizer, examples, max_length, scale))


def _prompt_encoder(config: Config, backbone: Backbone, task: TaskData) -> Encoder:
    """Return the encoder of prompts, either with responses or without the label words that answer them."""
    max_length = config.task.max_length
    template = Template.of(backbone.tokenizer, config.task.text, **config.task.prompt_fields)
    if config.task.is_generated:
        return Encoder(
            lambda examples, source: encode_responses(template, examples, max_length, source), stop=template.stop
        )
    words = template.words(_words(config, task))
    room = _room(task, words, len(template.start))
    return Encoder(lambda examples, source: encode_prompts(template, examples, room, source), words)


def _words(config: Config, task: TaskData) -> list[str]:
    """Return the words of each label.

    Raises:
        SlatError: the configuration has words for some labels only.
    """
    response = config.task.response
    words = response if isinstance(response, dict) else {label: label for label in task.labels}
    for label in task.labels:
        if label not in words:
            hint = "; task.label_names says which label is which number" if label.isdigit() else ""
            raise SlatError(f"task.response: no words for the label {label!r}; it has {', '.join(words)}{hint}")
    if unknown := sorted(set(words) - set(task.labels)):
        raise SlatError(f"task.response: {unknown[0]!r} is no label of {task.name}; it has {', '.join(task.labels)}")
    return [words[label] for label in task.labels]


def _room(task: TaskData, words: Words, start_length: int) -> int:
    """Return the number of tokens that a prompt may have beside the longest words.

    Raises:
        SlatError: the words leave no room for a prompt.
    """
    longest = max(map(len, words))
    if task.max_length < longest + start_length + 1:
        raise SlatError(
            f"task.max_length: {task.max_length} tokens leave no room for a prompt beside a response of {longest}"
        )
    return task.max_length - longest
