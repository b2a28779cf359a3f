"""A trained adapter as a folder: ``adapter.safetensors`` and ``adapter.json``, no pickle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import Model
from ..errors import SlatError
from ..models.backbone import Backbone, load_backbone, products_in
from ..models.responses import ResponseModel
from ..models.task_model import TaskModel, task_model
from ..records import Measures, Recommended, TrainingJob
from ..tasks import Encoded, Example, Template, encode, encode_prompts, evaluation_batches
from ..training.context import Context
from ..training.digests import check_model
from ..training.evaluate import predict_logits
from ..training.jobs import apply_job, load_state
from ..training.protocol import State
from .parts import naming, read_parts, write_parts

_log = logging.getLogger(__name__)
FORMAT = "slat-adapter/3"
READ = (FORMAT, "slat-adapter/2")  # which knew no prompts
_AT_ONCE = 16  # responses that are generated together


def save_bundle(folder: Path, context: Context, job: TrainingJob, state: State, measures: Measures) -> None:
    """Write adapter, head and all that is needed to use them on the same backbone."""
    config = context.config
    description = {
        "format": FORMAT,
        "model": config.model.model_dump(),
        "labels": list(context.labels),
        "scale": list(context.scale),
        "max_length": config.task.max_length,
        "columns": list(config.task.text),
        "prompt": _prompt(context),
        "unit": job.as_dict(),
        "measures": measures.to_dict(),
        "made_from": context.made_from.as_dict(),
    }
    write_parts(folder, "adapter", description, state)


@dataclass
class Predictor:
    """A loaded adapter, ready to classify.

    Attributes:
        model: the classifier; its backbone carries the adapter until the predictor is gone.
        description: the content of ``adapter.json``.
        precision: of matrix products; that of the training.
    """

    model: TaskModel
    tokenizer: Any
    description: dict[str, Any]
    precision: str = "float32"

    @property
    def labels(self) -> list[str]:
        """Label names; none in a regression."""
        return self.description["labels"]

    @property
    def columns(self) -> list[str]:
        """Return the names of the text columns of the task; two for pairs."""
        return self.description["columns"]

    def __call__(self, texts: Sequence[str | tuple[str, ...]]) -> np.ndarray:
        """Probabilities (texts, classes), or the numbers (texts, 1) of a regression.

        Raises:
            SlatError: no text, an empty one, one side where the task has pairs, or an adapter that generates.
        """
        if self.generates:
            raise SlatError("predict: this adapter generates responses, and has no labels")
        with products_in(self.precision):
            logits = torch.from_numpy(predict_logits(self.model, self._encoded(texts)))
        if not self.labels:
            mean, spread = self.description["scale"]
            return logits.numpy() * spread + mean
        return logits.softmax(dim=1).numpy()

    @property
    def generates(self) -> bool:
        """Whether the adapter answers with a response of its own, and not with a label."""
        return isinstance(self.model, ResponseModel)

    def generate(self, texts: Sequence[str | tuple[str, ...]]) -> list[str]:
        """Responses, token by token the most probable.

        Raises:
            SlatError: texts that it cannot take, or an adapter that predicts labels.
        """
        if not isinstance(self.model, ResponseModel):
            raise SlatError("predict: this adapter predicts labels, and generates nothing")
        data = self._encoded(texts)
        responses = [""] * len(data)
        with products_in(self.precision):
            for rows in evaluation_batches(data, _AT_ONCE):
                batch = {name: value.to(self.model.device) for name, value in data.batch(rows).items()}
                for row, response in zip(rows, self.model.generate(batch), strict=True):
                    responses[row] = response
        return responses

    def _encoded(self, texts: Sequence[str | tuple[str, ...]]) -> Encoded:
        rows = [Example((t,) if isinstance(t, str) else tuple(t), 0) for t in texts]
        sides, enough = len(self.columns), any if self.generates else all
        if not rows or any(len(r.texts) != sides or not enough(t.strip() for t in r.texts) for r in rows):
            raise SlatError(f"text: this adapter wants {sides} non-empty text(s) for each prediction")
        return encode_rows(self.description, self.tokenizer, rows)


def load_bundle(run: str | PathLike[str], adapter: str | None = None, task: str | None = None) -> Predictor:
    """Load an adapter on a backbone of its own.

    Args:
        run: folder of an adapter or of a run.
        adapter: its name in the run; the recommended one by default.
        task: whose adapter, in a run over several tasks.

    Raises:
        SlatError: no such adapter there, weights that do not fit, or a model that is not the one it was trained on.
    """
    folder = adapter_folder(Path(run), adapter, task)
    _log.debug(f"adapter: {folder}")
    description, state = read_parts(folder, "adapter", *READ)
    backbone, device = own_backbone(f"adapter {folder}", description)
    settings = Model.model_validate(description["model"])
    job = TrainingJob(**description["unit"])
    model = described_model(description, backbone)
    with naming("adapter", folder):
        load_state([model], apply_job(job, model.backbone), state)
    model.to(device).eval()
    return Predictor(model, backbone.tokenizer, description, settings.precision)


def _prompt(context: Context) -> dict[str, Any] | None:
    """Return the prompt of a task with the token ids of its labels' words; None where a head reads the text."""
    task = context.config.task
    if not task.is_prompted:
        return None
    return {
        **task.prompt_fields,
        "words": [list(word) for word in context.words],
        "max_new_tokens": task.max_new_tokens if task.is_generated else None,
    }


def described_model(description: Mapping[str, Any], backbone: Backbone) -> TaskModel:
    """The model that an adapter belongs to, with a fresh head."""
    prompt = description.get("prompt") or {}
    words = tuple(map(tuple, prompt.get("words", ())))
    pooling = Model.model_validate(description["model"]).pooling
    outputs = max(1, len(description["labels"]))
    return task_model(backbone, outputs, pooling, words=words, max_new_tokens=prompt.get("max_new_tokens"))


def encode_rows(description: Mapping[str, Any], tokenizer: Any, rows: Sequence[Example]) -> Encoded:
    """Texts as the task of an adapter reads them."""
    prompt, length = description.get("prompt"), description["max_length"]
    if prompt is None:
        return encode(tokenizer, rows, length)
    template = Template.of(tokenizer, description["columns"], prompt["prompt"], prompt["messages"])
    if template.is_chat and not template.roles:
        rows = [replace(row, roles=("user",)) for row in rows]
    return encode_prompts(template, rows, length - max(map(len, prompt["words"]), default=0))


def own_backbone(where: str, description: Mapping[str, Any]) -> tuple[Backbone, str]:
    """The model that an adapter was trained on, its own as several may be loaded side by side; and where it stands.

    Raises:
        SlatError: no such model any more, or another one under its name.
    """
    settings = Model.model_validate(description["model"])
    causal = any(told.get("prompt") for told in (description, *description.get("tasks", {}).values()))
    backbone = load_backbone(settings.name, weights=settings.weights, causal=causal)
    check_model(where, description, backbone.model, backbone.tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with products_in(settings.precision):
        backbone.place(device, settings.precision)
    backbone.quantize()
    return backbone, device


def adapter_folder(run: Path, adapter: str | None = None, task: str | None = None) -> Path:
    """The adapter to use: ``run`` itself if it is one, else the named or the best one of a run folder; of a run over
    several tasks, or of a pool, that of ``task``.

    Raises:
        SlatError: no adapter there, or no such task.
    """
    if (run / "adapter.json").is_file():
        return run
    found = run if (run / "shared.json").is_file() else named_in(run, adapter)
    tasks = sorted(p.parent.name for p in found.glob("*/adapter.json"))
    if tasks:
        if task not in tasks:
            raise SlatError(f"--task: {run} has several tasks, so one of {', '.join(tasks)} is needed (got {task!r})")
        return found / task
    if task is not None:
        raise SlatError(f"--task: {run} has one task; leave it out")
    return found


def note_on(folder: Path) -> str:
    """Return the doubts that the run of an adapter has about it: that it is hand-made, or no better than the bare head;
    empty where it holds what it promises, or lies in no run."""
    for place in (folder, folder.parent):
        if (place.parent / "best.json").is_file():
            return Recommended.read(place.parent / "best.json").notes.get(place.name, "")
    return ""


def named_in(run: Path, adapter: str | None = None, shared: bool = False) -> Path:
    """The folder of the named or the recommended adapter of a run; of a ``shared`` pool the recommended found one.

    Raises:
        SlatError: not a run that is finished, or no such adapter.
    """
    folder = run / "adapters"
    if not (folder / "best.json").is_file():
        raise SlatError(f"{run}: neither an adapter folder nor a finished run")
    best = Recommended.read(folder / "best.json")
    name = adapter or (best.found if shared else None) or best.adapter
    known = sorted({p.relative_to(folder).parts[0] for p in folder.glob("**/adapter.json")})
    if name not in known:
        raise SlatError(f"--adapter: no {name!r} in {run}; there are {', '.join(known)}")
    return folder / name
