"""How the texts of a task become token ids: with a head, as prompts, or as prompts with responses."""

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
    """How the texts of a task become token ids.

    Attributes:
        encode: takes examples, and what they are for a warning.
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


def _check_length(task: Task, longest: int | None) -> None:
    """Check that texts, and responses behind them, are not longer than the ``longest`` that a model takes.

    Raises:
        SlatError: they are.
    """
    if longest is not None and task.max_length > longest:
        raise SlatError(f"task.max_length: {task.max_length} tokens are more than the {longest} that the model takes")
    most = task.max_new_tokens if task.is_generated else 0
    if longest is not None and task.max_length + most > longest:
        raise SlatError(
            f"task.max_length: {task.max_length} tokens and the {most} of a response (task.max_new_tokens) are more "
            f"than the {longest} that the model takes; {longest - most} leave room"
        )


def _text_encoder(config: Config, backbone: Backbone, task: TaskData) -> Encoder:
    """Return the encoder of texts that a head reads."""
    tokenizer, most = backbone.tokenizer, config.task.max_length
    check_room(tokenizer, most, len(config.task.text))
    scale = None if task.labels else task.scale
    return Encoder(lambda examples, _: encode(tokenizer, examples, most, scale))


def _prompt_encoder(config: Config, backbone: Backbone, task: TaskData) -> Encoder:
    """Return the encoder of prompts, with the responses or without the words that answer them."""
    most = config.task.max_length
    template = Template.of(backbone.tokenizer, config.task.text, **config.task.prompt_fields)
    if config.task.is_generated:
        return Encoder(lambda examples, what: encode_responses(template, examples, most, what), stop=template.stop)
    words = template.words(_words(config, task))
    room = _room(task, words, len(template.start))
    return Encoder(lambda examples, what: encode_prompts(template, examples, room, what), words)


def _words(config: Config, task: TaskData) -> list[str]:
    """Return the words of each label.

    Raises:
        SlatError: the configuration has words for some labels alone.
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


def _room(task: TaskData, words: Words, start: int) -> int:
    """Return the tokens that are left for a prompt beside the longest words.

    Raises:
        SlatError: next to none.
    """
    longest = max(map(len, words))
    if task.max_length < longest + start + 1:
        raise SlatError(
            f"task.max_length: {task.max_length} tokens leave no room for a prompt beside a response of {longest}"
        )
    return task.max_length - longest
