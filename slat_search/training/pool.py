"""Several tasks that train together: their contexts, whose turn it is, and their measures taken together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from ..config import Config
from ..models.backbone import Backbone
from ..models.task_model import TaskModel
from ..tasks import TaskData
from ..tasks.turns import shares, turns
from .balance import Uncertainty
from .context import Context, prepare
from .protocol import validation_measures
from .task_stream import Source


@dataclass(frozen=True)
class PoolContext:
    """Everything that a worker needs to train several tasks on one backbone; picklable and read-only.

    Attributes:
        config: the run's.
        parts: the context of each task.
    """

    config: Config
    parts: tuple[Context, ...]

    @property
    def backbone_params(self) -> int:
        return self.parts[0].backbone_params

    @property
    def layers(self) -> int:
        return self.parts[0].layers

    @property
    def head_params(self) -> int:
        """Return the parameters of all heads."""
        return sum(part.head_params for part in self.parts)

    @property
    def majority(self) -> float:
        """Mean over tasks of the quality of always saying the most frequent label."""
        return float(np.mean([part.majority for part in self.parts]))

    def backbone(self) -> Backbone:
        return self.parts[0].backbone()


AnyContext: TypeAlias = Context | PoolContext


def names(context: AnyContext) -> tuple[str, ...]:
    """Return the task names in training order."""
    return tuple(part.config.task.name for part in context.parts)


def prepare_pool(config: Config) -> tuple[PoolContext, list[TaskData]]:
    """Load what workers need, and the text of each task; tasks share one model, and a single task is a pool of one.

    Raises:
        SlatError: a wrong task or model, in one sentence.
    """
    configs = [config.of_task(number) for number in range(len(config.tasks))] or [config]
    prepared = [prepare(each) for each in configs]
    return PoolContext(config, tuple(context for context, _ in prepared)), [task for _, task in prepared]


def clean(context: AnyContext) -> AnyContext:
    """The same, but tested on clean text alone."""
    if isinstance(context, PoolContext):
        return replace(context, parts=tuple(replace(part, test_perturbed={}) for part in context.parts))
    return replace(context, test_perturbed={})


def sources(context: AnyContext, models: Sequence[TaskModel]) -> list[Source]:
    return [Source(model, part.train) for model, part in zip(models, context.parts, strict=True)]


def task_turns(context: AnyContext) -> Iterator[int]:
    """Number of the task that each step is of."""
    multitask = context.config.multitask
    sizes = [len(part.train) for part in context.parts]
    return turns(shares(sizes, multitask.sampling, multitask.temperature))


def balance(context: AnyContext) -> nn.Module | None:
    """Return the module that weighs the tasks' losses; None for losses as they are."""
    several = len(context.parts) > 1
    return Uncertainty(len(context.parts)) if several and context.config.multitask.balance == "uncertainty" else None


def measured(
    models: Sequence[TaskModel], context: AnyContext, switch: Callable[[int], None] = lambda task: None
) -> dict[str, Any]:
    """Measures on validation; of several tasks their means, the worst quality, and those of each under ``tasks``."""
    found = {}
    for number, (model, part) in enumerate(zip(models, context.parts, strict=True)):
        switch(number)
        found[part.config.task.name] = validation_measures(model, part)
    return next(iter(found.values())) if len(found) == 1 else together(found)


def together(by_task: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Means over tasks of all measures, and ``quality_worst``."""
    measures = next(iter(by_task.values()))
    means = {name: float(np.mean([found[name] for found in by_task.values()])) for name in measures}
    worst = min(found["quality"] for found in by_task.values())
    return {**means, "quality_worst": worst, "tasks": {task: dict(found) for task, found in by_task.items()}}
