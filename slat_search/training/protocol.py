"""Shared by all trainings: the plan, the measures on validation, and the format of trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor

from ..config import Config
from ..models.backbone import Backbone
from ..models.task_model import TaskModel
from ..tasks import Encoded, Noise
from .context import Context
from .evaluate import loss, predict_sets, quality
from .loop import Plan

State = dict[str, np.ndarray]
T = TypeVar("T")


class HasBackbone(Protocol):
    """A context, of one task or of several."""

    def backbone(self) -> Backbone: ...


def plan(
    config: Config, learning_rate: float, seed: int, noise: Noise, head_only: bool = False, parts: int = 1
) -> Plan:
    """The plan that all methods share; ``head_only`` makes ``learning_rate`` that of the head."""
    t = config.training
    return Plan(
        steps=t.steps,
        batch_size=t.batch_size,
        learning_rate=learning_rate,
        head_learning_rate=learning_rate if head_only else t.head_learning_rate,
        weight_decay=t.weight_decay,
        warmup=t.warmup,
        noise=noise,
        seed=config.seed + seed,
        parts=parts,
    )


def noise_ids(context: HasBackbone) -> dict[str, Any]:
    """Token ids that noise leaves alone, and the one that it masks with."""
    tokenizer = context.backbone().tokenizer
    mask = tokenizer.mask_token_id
    return {
        "special_ids": tuple(tokenizer.all_special_ids),
        "mask_id": mask if mask is not None else (tokenizer.unk_token_id or 0),
    }


def validation_measures(model: TaskModel, context: Context) -> dict[str, float]:
    """Quality on validation, clean and perturbed, their ratio, and the loss on clean text."""
    sets, metric = [context.validation, context.validation_perturbed], context.config.task.metric
    logits = predict_sets(model, sets)
    clean, perturbed = qualities(metric, sets, logits)
    return {
        "quality": clean,
        "quality_perturbed": perturbed,
        "retained": perturbed / clean if clean > 0 else 0.0,
        "loss": loss(context.validation, logits[0]),
    }


def qualities(metric: str, sets: Sequence[Encoded], logits: Sequence[np.ndarray]) -> list[float]:
    """The task's metric on each set."""
    return [quality(metric, data.labels, found) for data, found in zip(sets, logits, strict=True)]


def trained_arrays(saved: Mapping[str, Tensor], models: Sequence[TaskModel]) -> State:
    """Return the weights of adapter and heads by name: ``adapter.*``, and ``head.*`` or ``heads.<number>.*``."""
    state = {f"adapter.{name}": value.detach().cpu().numpy().copy() for name, value in saved.items()}
    for prefix, model in zip(head_names(len(models)), models, strict=True):
        state |= {f"{prefix}.{name}": p.detach().cpu().numpy().copy() for name, p in model.head.named_parameters()}
    return state


def head_names(count: int) -> list[str]:
    """Return the state-dict prefix of each of so many heads."""
    return ["head"] if count == 1 else [f"heads.{number}" for number in range(count)]


def those_of(prefix: str, values: Mapping[str, T]) -> dict[str, T]:
    """Values whose names begin so, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
