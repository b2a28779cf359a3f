"""A trained pool of several tasks as a folder: all of it in one file, and each task's part as an adapter of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..baselines import check_weights, load_module
from ..config import Model
from ..files import read_json
from ..records import Measures, TrainingJob
from ..structure import SharedAdapter, SharedStructure, attach_shared
from ..training.pool import PoolContext, names
from ..training.protocol import State, those_of
from .parts import naming, read_parts, write_parts
from .predictor import (
    Predictor,
    described_model,
    named_in,
    own_backbone,
    save_bundle,
)

FORMAT = "slat-pool/3"
_READ = (FORMAT, "slat-pool/2")  # which knew no prompts


def save_shared(
    folder: Path, context: PoolContext, job: TrainingJob, structure: SharedStructure, state: State, measures: Measures
) -> None:
    """Write ``shared.safetensors`` and ``shared.json``, and in a folder a task what :func:`.save_bundle` writes."""
    shared = attach_shared(context.backbone().model, structure)
    try:
        weights = those_of("adapter.", state)
        shared.adapter.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
        for number, (task, part) in enumerate(zip(structure.tasks, context.parts, strict=True)):
            own, alone = shared.alone(task)
            mine = {f"adapter.{name}": value.cpu().numpy() for name, value in alone.items()}
            mine |= {f"head.{name}": value for name, value in those_of(f"heads.{number}.", state).items()}
            its = TrainingJob(
                "slat", f"{job.label}-{task}", job.learning_rate, job.seed, options={"structure": own.to_dict()}
            )
            save_bundle(folder / task, part, its, mine, measures.of(task))
    finally:
        shared.detach()
    description = {
        "format": FORMAT,
        "model": context.config.model.model_dump(),
        "structure": structure.to_dict(),
        "tasks": {task: read_json(folder / task / "adapter.json") for task in names(context)},
        "made_from": context.parts[0].made_from.as_dict(),
    }
    write_parts(folder, "shared", description, state)


class SharedPredictor:
    """All tasks of a pool on one backbone, switched from request to request.

    Example::

        predict = load_shared("runs/three")
        predict("bbc-headline", ["Chelsea win away"])

    Attributes:
        tasks: names.
    """

    def __init__(self, shared: SharedAdapter, predictors: dict[str, Predictor]):
        self._shared, self._predictors = shared, predictors

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self._predictors)

    def labels(self, task: str) -> list[str]:
        """Label names of a task; none in a regression."""
        return self._predictors[task].labels

    def __call__(self, task: str, texts: Sequence[str | tuple[str, ...]]) -> np.ndarray:
        """Probabilities (texts, classes), or the numbers (texts, 1) of a regression.

        Raises:
            SlatError: no such task, or texts that it cannot take.
        """
        self._shared.switch(task)
        return self._predictors[task](texts)

    def generate(self, task: str, texts: Sequence[str | tuple[str, ...]]) -> list[str]:
        """Responses of a task whose adapter generates them.

        Raises:
            SlatError: no such task, one that predicts labels, or texts that it cannot take.
        """
        self._shared.switch(task)
        return self._predictors[task].generate(texts)


def read_shared(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read the files of :func:`save_shared`: the content of ``shared.json``, and weights by name.

    Raises:
        SlatError: not such a folder, or damaged.
    """
    description, state = read_parts(folder, "shared", *_READ)
    return description, {name: torch.from_numpy(np.array(value)) for name, value in state.items()}


def load_shared(run: str | PathLike[str], adapter: str | None = None) -> SharedPredictor:
    """Load a pool with all of its tasks on one backbone.

    Args:
        run: folder of a pool that :func:`save_shared` wrote, or of a run over several tasks.
        adapter: its name in the run; the recommended found pool by default.

    Raises:
        SlatError: no such pool there, or damaged.
    """
    folder = Path(run)
    place = named_in(folder, adapter, shared=True) if (folder / "adapters").is_dir() else folder
    description, tensors = read_shared(place)
    backbone, device = own_backbone(f"pool {place}", description)
    settings = Model.model_validate(description["model"])
    with naming("pool", place):
        shared = pool_on(backbone.model, description, tensors)
    predictors = {}
    for number, (task, told) in enumerate(description["tasks"].items()):
        model = described_model(told, backbone)
        load_module(model.head, those_of(f"heads.{number}.", tensors))
        model.to(device).eval()
        predictors[task] = Predictor(model, backbone.tokenizer, told, settings.precision)
    return SharedPredictor(shared, predictors)


def pool_on(backbone: nn.Module, description: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> SharedAdapter:
    """The trained pool, standing on a backbone."""
    shared = attach_shared(backbone, SharedStructure.from_dict(description["structure"]))
    load_module(shared.adapter, those_of("adapter.", tensors))
    if "scales" in tensors:
        check_weights({"scales": shared.scales}, {"scales": tensors["scales"]})
        shared.scales.copy_(tensors["scales"])
        shared.switch(shared.task)
    return shared
