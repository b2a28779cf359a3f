"""The context of all trainings of a run: encoded text of its tasks, and the model. It is made once, on the driver."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..config import Config, Task, check_secrets
from ..metrics import majority_quality
from ..models.backbone import Backbone, shared_backbone
from ..models.task_model import TaskModel, task_model
from ..structure import find_blocks
from ..tasks import SPLITS, Encoded, TaskData, Words, check_tokens, load_task, perturb
from .digests import MadeFrom
from .encoders import encoder_for


@dataclass(frozen=True)
class TaskContext:
    """Encoded text of one task, and the settings of its model.

    Attributes:
        config: the task's section of the configuration.
        labels: label names; none in a regression.
        train, validation, test: encoded splits.
        validation_perturbed: perturbed validation text, the same at every rung.
        test_perturbed: (kind, ratio) -> perturbed test text.
        majority: quality on test of always predicting the most frequent training label.
        scale: mean and standard deviation of a regression's labels, which are learned at mean 0 and deviation 1.
        made_from: digests of text and model.
        words: token ids of the words of each label, where a causal language model answers in words; else none.
        stop: token ids that end a generated response; else none.
    """

    config: Task
    labels: tuple[str, ...]
    train: Encoded
    validation: Encoded
    test: Encoded
    validation_perturbed: Encoded
    test_perturbed: dict[tuple[str, float], Encoded]
    majority: float
    scale: tuple[float, float]
    made_from: MadeFrom
    words: Words
    stop: tuple[int, ...] = ()

    @property
    def outputs(self) -> int:
        """Return the number of outputs of the head: one per label, or 1 in a regression."""
        return max(1, len(self.labels))


@dataclass(frozen=True)
class Context:
    """Everything that a worker needs to train one task, or several on one backbone; picklable and read-only.

    Attributes:
        config: configuration of the run.
        frozen: the model, which is sent to workers with the rest.
        tasks: context of each task, in training order.
    """

    config: Config
    frozen: Backbone
    tasks: tuple[TaskContext, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the task names in training order."""
        return tuple(task.config.name for task in self.tasks)

    @property
    def backbone_params(self) -> int:
        """Return the number of parameters of the frozen model."""
        return self.frozen.params

    @property
    def layers(self) -> int:
        """Return the number of repeated blocks of the model."""
        return len(find_blocks(self.frozen.model)[1])

    @property
    def head_params(self) -> int:
        """Return the number of parameters of all heads; 0 where the model answers in words."""
        return sum(0 if task.config.is_prompted else (self.frozen.width + 1) * task.outputs for task in self.tasks)

    @property
    def majority(self) -> float:
        """Return the quality of always predicting the most frequent label, mean over tasks."""
        return float(np.mean([task.majority for task in self.tasks]))

    def backbone(self) -> Backbone:
        """Return the frozen model of this process, on the GPU if there is one."""
        model = self.config.model
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.frozen.place(device, model.precision, model.gradient_checkpointing)
        return self.frozen

    def models(self) -> list[TaskModel]:
        """Return the model of each task on this worker's backbone, with a fresh head."""
        backbone = self.backbone()
        backbone.quantize()
        return [
            task_model(
                backbone,
                task.outputs,
                self.config.model.pooling,
                words=task.words,
                max_new_tokens=task.config.max_new_tokens if task.config.is_generated else None,
                metric=task.config.metric,
                stop=task.stop,
            )
            for task in self.tasks
        ]

    def of(self, number: int) -> Context:
        """Return the context of one task alone, with its fraction of the steps."""
        config = self.config.of_task(number) if self.config.tasks else self.config
        return replace(self, config=config, tasks=(self.tasks[number],))

    def tested_clean(self) -> Context:
        """Return a copy that is tested on clean text alone."""
        return replace(self, tasks=tuple(replace(task, test_perturbed={}) for task in self.tasks))


def prepare(config: Config, revision: str | None = None) -> tuple[Context, list[TaskData]]:
    """Load what workers need, and the text of each task; all tasks use one model.

    Args:
        revision: of the model on the hub, for a configuration without one: the revision of the run that is resumed.

    Raises:
        SlatError: a wrong task or model, in one sentence.
    """
    check_secrets(config)
    configs = [config.of_task(number) for number in range(len(config.tasks))] or [config]
    data_sets = [load_task(task_config.task, task_config.seed) for task_config in configs]
    prompted = config.task.is_prompted
    model = config.model
    backbone = shared_backbone(
        model.name, model.dropout, model.weights, prompted, model.revision or revision, model.trust_remote_code
    )
    tasks = tuple(
        _task_context(task_config, backbone, data) for task_config, data in zip(configs, data_sets, strict=True)
    )
    return Context(config, backbone, tasks), data_sets


def _task_context(config: Config, backbone: Backbone, task: TaskData) -> TaskContext:
    """Tokenize the task of a configuration once, clean and perturbed.

    Raises:
        SlatError: texts or prompts that the model cannot take.
    """
    encoder = encoder_for(config, backbone, task)
    encode, evaluation = encoder.encode, config.evaluation
    clean = {split: encode(task.splits[split], f"prompts of task {task.name} ({split})") for split in SPLITS}
    for split, data in clean.items():
        check_tokens(backbone.tokenizer, data, len(config.task.text), f"task {task.name}'s {split} texts")
    return TaskContext(
        config=config.task,
        labels=task.labels,
        train=clean["train"],
        validation=clean["validation"],
        test=clean["test"],
        validation_perturbed=encode(
            perturb(task.splits["validation"], evaluation.rung_kind, evaluation.rung_ratio, config.seed), ""
        ),
        test_perturbed={
            (kind, ratio): encode(perturb(task.splits["test"], kind, ratio, config.seed), "")
            for kind in evaluation.kinds
            for ratio in evaluation.ratios
            if ratio > 0
        },
        majority=majority_quality(task.metric, clean["train"].labels, clean["test"].labels),
        scale=task.scale,
        made_from=MadeFrom.of(backbone, config.model.weights, task),
        words=encoder.words,
        stop=encoder.stop,
    )
