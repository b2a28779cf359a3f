"""The model of a task on a backbone, which answers by a head or in words."""

from __future__ import annotations

from typing import TypeAlias

from ..tasks import Words
from .backbone import Backbone
from .classifier import TextClassifier
from .label_words import LabelWords
from .responses import ResponseModel

TaskModel: TypeAlias = TextClassifier | LabelWords | ResponseModel


def task_model(
    backbone: Backbone,
    outputs: int,
    pooling: str,
    *,
    words: Words = (),
    max_new_tokens: int | None = None,
    metric: str = "token_accuracy",
    stop: tuple[int, ...] = (),
) -> TaskModel:
    """Return the model of a task, on the backbone's device, with a fresh head where it has one.

    Args:
        outputs: number of labels; 1 in a regression.
        pooling: see :class:`.TextClassifier`.
        words: token ids of the words of each label, if a causal language model chooses among them.
        max_new_tokens: largest number of tokens of a response, if a causal language model generates it.
        metric: quality of a generated response.
        stop: token ids that end a generated response.
    """
    if max_new_tokens is not None:
        return ResponseModel(backbone.model, backbone.tokenizer, metric, max_new_tokens, stop)
    if words:
        return LabelWords(backbone.model, words).to(backbone.model.device)
    return TextClassifier(backbone.model, backbone.width, outputs, pooling).to(backbone.model.device)
