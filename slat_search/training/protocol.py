"""Parts common to all trainings: plan, order of tasks, validation measures, format of trained weights."""

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
    config: Config, learning_rate: float, seed: int, noise: Noise, head_only: bool = False, accumulation: int = 1
) -> Plan:
    """Return the plan, the same for all methods; ``head_only`` makes ``learning_rate`` that of the head."""
    training = config.training
    return Plan(
        steps=training.steps,
        batch_size=training.batch_size,
        learning_rate=learning_rate,
        head_learning_rate=learning_rate if head_only else training.head_learning_rate,
        weight_decay=training.weight_decay,
        warmup=training.warmup,
        head_first=training.head_first,
        noise=noise,
        seed=config.seed + seed,
        accumulation=accumulation,
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
        models: the model of each task.
        adapter, controller, switch: see :class:`.Training`.
        plan: length and rates of the training.
    """
    tasks, multitask = context.tasks, context.config.multitask
    batch_fractions = shares([len(task.train) for task in tasks], multitask.sampling, multitask.temperature)
    is_weighted = len(tasks) > 1 and multitask.balance == "uncertainty"
    return Training(
        [Source(model, task.train) for model, task in zip(models, tasks, strict=True)],
        adapter,
        plan,
        controller=controller,
        turns=turns(batch_fractions),
        switch=switch,
        balance=Uncertainty(len(tasks)) if is_weighted else None,
        **noise_ids(context),
    )


def noise_ids(context: Context) -> dict[str, Any]:
    """Return the token ids that noise does not change, and the one that it masks with."""
    tokenizer = context.backbone().tokenizer
    mask = tokenizer.mask_token_id
    return {
        "special_ids": tuple(tokenizer.all_special_ids),
        "mask_id": mask if mask is not None else (tokenizer.unk_token_id or 0),
    }


def validation_measures(
    context: Context, models: Sequence[TaskModel], switch: Callable[[int], None] = lambda task: None
) -> dict[str, Any]:
    """Return the measures on validation.

    For several tasks they are the means, with the worst quality, and the measures of each task under ``tasks``.
    """
    by_task = {}
    for number, (model, task) in enumerate(zip(models, context.tasks, strict=True)):
        switch(number)
        by_task[task.config.name] = _measures(model, task)
    return next(iter(by_task.values())) if len(by_task) == 1 else _averaged(by_task)


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


def _averaged(by_task: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the means over tasks of all measures, and ``quality_worst``."""
    names = next(iter(by_task.values()))
    means = {name: float(np.mean([measures[name] for measures in by_task.values()])) for name in names}
    worst = min(measures["quality"] for measures in by_task.values())
    return {**means, "quality_worst": worst, "tasks": dict(by_task)}


def qualities(metric: str, sets: Sequence[Encoded], logits: Sequence[np.ndarray]) -> list[float]:
    """Return the task's metric on each set."""
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
