"""Shared by all trainings: plan, order of tasks, validation measures, format of trained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from ..config import Config
from ..controller import Controller
from ..models.task_model import TaskModel
from ..tasks import Encoded, Noise
from ..tasks.turns import shares, turns
from .balance import Uncertainty
from .context import Context, TaskContext
from .evaluate import loss, predict_sets, quality
from .loop import Plan, Training
from .task_stream import Source

State = dict[str, np.ndarray]
T = TypeVar("T")


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
        head_first=t.head_first,
        noise=noise,
        seed=config.seed + seed,
        parts=parts,
    )


def make_training(
    context: Context,
    models: Sequence[TaskModel],
    adapter: nn.Module | None,
    plan: Plan,
    controller: Controller | None = None,
    switch: Callable[[int], None] = lambda task: None,
) -> Training:
    """Return the training of all tasks of a context in turns.

    Args:
        models: of each task.
        adapter, controller, switch: see :class:`.Training`.
        plan: of the training.
    """
    tasks, multitask = context.tasks, context.config.multitask
    share = shares([len(each.train) for each in tasks], multitask.sampling, multitask.temperature)
    weighed = len(tasks) > 1 and multitask.balance == "uncertainty"
    return Training(
        [Source(model, each.train) for model, each in zip(models, tasks, strict=True)],
        adapter,
        plan,
        controller=controller,
        turns=turns(share),
        switch=switch,
        balance=Uncertainty(len(tasks)) if weighed else None,
        **noise_ids(context),
    )


def noise_ids(context: Context) -> dict[str, Any]:
    """Return the token ids that noise leaves alone, and the one that it masks with."""
    tokenizer = context.backbone().tokenizer
    mask = tokenizer.mask_token_id
    return {
        "special_ids": tuple(tokenizer.all_special_ids),
        "mask_id": mask if mask is not None else (tokenizer.unk_token_id or 0),
    }


def validation_measures(
    context: Context, models: Sequence[TaskModel], switch: Callable[[int], None] = lambda task: None
) -> dict[str, Any]:
    """Return the measures on validation; of several tasks their means, the worst quality, and those of each under
    ``tasks``."""
    by_task = {}
    for number, (model, task) in enumerate(zip(models, context.tasks, strict=True)):
        switch(number)
        by_task[task.config.name] = _measures(model, task)
    return next(iter(by_task.values())) if len(by_task) == 1 else _together(by_task)


def _measures(model: TaskModel, context: TaskContext) -> dict[str, float]:
    """Return quality on validation, clean and perturbed, their ratio, and the loss on clean text."""
    sets, metric = [context.validation, context.validation_perturbed], context.config.metric
    logits = predict_sets(model, sets)
    clean, perturbed = qualities(metric, sets, logits)
    return {
        "quality": clean,
        "quality_perturbed": perturbed,
        "retained": perturbed / clean if clean > 0 else 0.0,
        "loss": loss(context.validation, logits[0]),
    }


def _together(by_task: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the means over tasks of all measures, and ``quality_worst``."""
    names = next(iter(by_task.values()))
    means = {name: float(np.mean([measures[name] for measures in by_task.values()])) for name in names}
    worst = min(measures["quality"] for measures in by_task.values())
    return {**means, "quality_worst": worst, "tasks": dict(by_task)}


def qualities(metric: str, sets: Sequence[Encoded], logits: Sequence[np.ndarray]) -> list[float]:
    """The task's metric on each set."""
    return [quality(metric, data.labels, outputs) for data, outputs in zip(sets, logits, strict=True)]


def trained_arrays(saved: Mapping[str, Tensor], models: Sequence[TaskModel]) -> State:
    """Return the weights of adapter and heads by name: ``adapter.*``, and ``head.*`` or ``heads.<number>.*``."""
    state = {f"adapter.{name}": value.detach().cpu().numpy().copy() for name, value in saved.items()}
    for prefix, model in zip(head_names(len(models)), models, strict=True):
        state |= {f"{prefix}.{name}": p.detach().cpu().numpy().copy() for name, p in model.head.named_parameters()}
    return state


def head_names(count: int) -> list[str]:
    """Return the state-dict prefixes of ``count`` heads."""
    return ["head"] if count == 1 else [f"heads.{number}" for number in range(count)]


def strip_prefix(prefix: str, values: Mapping[str, T]) -> dict[str, T]:
    """Return the values under a prefix, without the prefix."""
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
