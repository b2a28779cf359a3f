"""Predict with trained adapters on their own backbone, for one task or several."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..baselines import Applied
from ..config.prompt import ALPACA
from ..errors import SlatError
from ..models.backbone import Backbone, load_backbone, products_in
from ..models.responses import ResponseModel
from ..models.task_model import TaskModel, task_model
from ..records import AdapterTask, SavedAdapter, SavedPrompt
from ..tasks import Encoded, Example, Template, encode, encode_prompts, evaluation_batches
from ..tasks.chats import prompts_in
from ..training.digests import check_model
from ..training.evaluate import predict_logits
from ..training.jobs import load_state
from .saved import adapter_folder, apply_saved, model_source, naming, read_saved, shared_folder

_log = logging.getLogger(__name__)
_GENERATION_BATCH_SIZE = 16  # responses that are generated together
#: a text, a text for each column, or the messages of a chat, each with ``role`` and ``content``
Text = str | tuple[str, ...] | list[dict[str, str]]


@dataclass
class Predictor:
    """A loaded adapter; several tasks share one backbone, which is switched to the task at each call.

    Example::

        predict = load("runs/headline")
        predict(["Chelsea win away"])
        load("runs/quickstart")([("Chelsea win away", "Arsenal lost 2-0 at home.")])  # of pairs
        predict = load("runs/three")  # of several tasks
        predict(["Chelsea win away"], "bbc-headline")

    Attributes:
        saved: the description of the adapter.
        models: task -> its model; the adapter stays on their backbone as long as the predictor exists.
        tokenizer: tokenizer of the backbone.
        applied: the adapter on the backbone.
    """

    saved: SavedAdapter
    models: Mapping[str, TaskModel]
    tokenizer: Any
    applied: Applied

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in training order."""
        return tuple(self.models)

    def of(self, task: str) -> Predictor:
        """Return the predictor of one of the tasks, on the same backbone.

        Raises:
            SlatError: no such task.
        """
        if task not in self.models:
            raise SlatError(f"predict: no task {task!r}; there are {', '.join(self.tasks)}")
        return replace(self, models={task: self.models[task]})

    @property
    def task(self) -> AdapterTask:
        """Description of the only task.

        Raises:
            SlatError: there are several.
        """
        if len(self.models) > 1:
            raise SlatError(f"predict: this adapter has several tasks; name one of {', '.join(self.tasks)}")
        return self.saved.tasks[self.tasks[0]]

    @property
    def model(self) -> TaskModel:
        """Model of the only task, see :attr:`task`, with the adapter switched to it."""
        name, _ = self.tasks[0], self.task
        self.applied.switch(list(self.saved.tasks).index(name))
        return self.models[name]

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names of the only task, see :attr:`task`; none in a regression."""
        return self.task.labels

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the text columns of the only task, see :attr:`task`; two for pairs."""
        return self.task.columns

    @property
    def generates(self) -> bool:
        """Whether the only task, see :attr:`task`, generates responses instead of labels."""
        return isinstance(self.model, ResponseModel)

    def __call__(self, texts: Sequence[Text], task: str | None = None) -> np.ndarray:
        """Return probabilities (texts, classes), or the numbers (texts, 1) of a regression.

        Args:
            texts: strings; tuples of two where the task has pairs; lists of messages where it has chats.
            task: name of one of several tasks.

        Raises:
            SlatError: an unknown task, no text, an empty text, one text instead of a pair, a generating task, or
                outputs that are not finite.
        """
        if task is not None:
            return self.of(task)(texts)
        if self.generates:
            raise SlatError("predict: this adapter generates responses, and has no labels")
        with products_in(self.saved.model.precision):
            logits = torch.from_numpy(predict_logits(self.model, self._encode_texts(texts)))
        if not logits.isfinite().all():
            raise SlatError("predict: this adapter computes numbers too large for the model (NaN or infinity)")
        if not self.labels:
            mean, deviation = self.task.scale
            return logits.numpy() * deviation + mean
        return logits.softmax(dim=1).numpy()

    def generate(self, texts: Sequence[Text], task: str | None = None) -> list[str]:
        """Return greedily decoded responses; arguments as for a call.

        Raises:
            SlatError: no such task, texts that do not fit it, or a task that predicts labels.
        """
        if task is not None:
            return self.of(task).generate(texts)
        model = self.model
        if not isinstance(model, ResponseModel):
            raise SlatError("predict: this adapter predicts labels, and generates nothing")
        data = self._encode_texts(texts)
        responses = [""] * len(data)
        with products_in(self.saved.model.precision):
            for rows in evaluation_batches(data, _GENERATION_BATCH_SIZE):
                batch = {name: value.to(model.device) for name, value in data.batch(rows).items()}
                for row, response in zip(rows, model.generate(batch), strict=True):
                    responses[row] = response
        return responses

    @property
    def reads_chats(self) -> bool:
        """Whether the only task, see :attr:`task`, takes chats of any messages."""
        prompt = self.task.prompt
        return prompt is not None and prompt.prompt is None and not prompt.messages

    def _encode_texts(self, texts: Sequence[Text]) -> Encoded:
        if self.reads_chats:
            if not texts:
                raise SlatError("text: this adapter wants a chat, or a message of the user, for each response")
            chats = prompts_in([text[0] if isinstance(text, tuple) else text for text in texts], "text:")
            return _encode(self.task, self.tokenizer, [Example(chat.texts, 0, roles=chat.roles) for chat in chats])
        if any(isinstance(text, list) for text in texts):
            raise SlatError("text: this adapter takes texts, and no list of messages")
        prompt, sides, quantifier = self.task.prompt, len(self.columns), any if self.generates else all
        empty_input = ("",) * (sides - 1) if prompt is not None and prompt.prompt in ALPACA else ()
        rows = [Example((t, *empty_input) if isinstance(t, str) else tuple(map(str, t)), 0) for t in texts]
        if not rows or any(len(r.texts) != sides or not quantifier(t.strip() for t in r.texts) for r in rows):
            raise SlatError(f"text: this adapter wants {sides} non-empty text(s) for each prediction")
        return _encode(self.task, self.tokenizer, rows)


def load_predictor(
    run: str | PathLike[str], adapter: str | None = None, task: str | None = None, *, trust_remote_code: bool = False
) -> Predictor:
    """Load an adapter with its own backbone.

    Args:
        run: folder of an adapter or of a run.
        adapter: name of the adapter in the run; the recommended one by default.
        task: the task to load, of an adapter of several tasks; all of them by default.
        trust_remote_code: allow Python code shipped with the adapter's model.

    Raises:
        SlatError: no such adapter there, weights that do not fit, or a model that is not the one it was trained on.
    """
    folder = shared_folder(Path(run), adapter) if task is None else adapter_folder(Path(run), adapter, task)
    _log.debug(f"adapter: {folder}")
    saved, state = read_saved(folder)
    backbone, device = _load_backbone(folder, saved, trust_remote_code)
    models = {name: _build_model(saved, adapter_task, backbone) for name, adapter_task in saved.tasks.items()}
    with naming("adapter", folder):
        applied = apply_saved(saved.job, backbone.model)
        load_state([*models.values()], applied, state)
    for model in models.values():
        model.to(device).eval()
    return Predictor(saved, models, backbone.tokenizer, applied)


def _build_model(saved: SavedAdapter, task: AdapterTask, backbone: Backbone) -> TaskModel:
    """Return the model of a task, with a fresh head."""
    prompt = task.prompt
    if prompt is None:
        return task_model(backbone, task.outputs, saved.model.pooling)
    stop = _template(task, prompt, backbone.tokenizer).stop if prompt.max_new_tokens is not None else ()
    return task_model(
        backbone,
        task.outputs,
        saved.model.pooling,
        words=prompt.words,
        max_new_tokens=prompt.max_new_tokens,
        stop=stop,
    )


def _template(task: AdapterTask, prompt: SavedPrompt, tokenizer: Any) -> Template:
    """Return the template that the adapter was trained with."""
    return Template.of(tokenizer, task.columns, prompt.prompt, prompt.messages)


def _encode(task: AdapterTask, tokenizer: Any, rows: Sequence[Example]) -> Encoded:
    """Encode texts as the task of an adapter reads them."""
    prompt = task.prompt
    if prompt is None:
        return encode(tokenizer, rows, task.max_length)
    template = _template(task, prompt, tokenizer)
    return encode_prompts(template, rows, task.max_length - max(map(len, prompt.words), default=0))


def _load_backbone(folder: Path, saved: SavedAdapter, trust_remote_code: bool) -> tuple[Backbone, str]:
    """Load a new copy of the model of an adapter, as several may be loaded side by side; return it and its device.

    Raises:
        SlatError: the model does not exist any more, or another one has its name.
    """
    settings = saved.model
    causal = any(task.prompt is not None for task in saved.tasks.values())
    source = model_source(folder, saved, trust_remote_code)
    backbone = load_backbone(
        source.name,
        weights=settings.weights,
        causal=causal,
        revision=source.revision,
        trust_remote_code=source.trust_remote_code,
    )
    check_model(f"adapter {folder}", saved, backbone.model, backbone.tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with products_in(settings.precision):
        backbone.place(device, settings.precision)
    backbone.quantize()
    return backbone, device
