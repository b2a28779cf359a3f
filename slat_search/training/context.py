"""The context that all trainings of a run share: encoded text of its tasks, and the model. Made once, on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..config import Config, Task, check_secrets
from ..errors import SlatError
from ..metrics import majority_quality
from ..models.backbone import Backbone, shared_backbone
from ..models.task_model import TaskModel, task_model
from ..structure import find_blocks
from ..tasks import (
    SPLITS,
    Encoded,
    Example,
    TaskData,
    Template,
    Words,
    check_room,
    check_tokens,
    encode,
    encode_prompts,
    encode_responses,
    load_task,
    perturb,
)
from .digests import MadeFrom


@dataclass(frozen=True)
class TaskContext:
    """Encoded text of one task, and what its model is made of.

    Attributes:
        config: its section of the configuration.
        labels: label names; none in a regression.
        train, validation, test: encoded splits.
        validation_perturbed: validation text as seen at every rung.
        test_perturbed: (kind, ratio) -> perturbed test text.
        majority: quality on test of always saying the most frequent training label.
        scale: mean and standard deviation of the labels that a regression learns at mean 0 and deviation 1.
        made_from: digests of text and model.
        words: token ids of the words of each label, where a causal language model answers in words; else none.
        stop: token ids at which a response of the model's own is over; else none.
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
        """Return the outputs of the head: one a label, or one number in a regression."""
        return max(1, len(self.labels))


@dataclass(frozen=True)
class Context:
    """Everything that a worker needs to train one task, or several on one backbone; picklable and read-only.

    Attributes:
        config: the run's.
        frozen: the model, which travels with the rest.
        tasks: what there is of each task, in training order.
    """

    config: Config
    frozen: Backbone
    tasks: tuple[TaskContext, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the task names in training order."""
        return tuple(each.config.name for each in self.tasks)

    @property
    def backbone_params(self) -> int:
        """Size of the frozen model."""
        return self.frozen.params

    @property
    def layers(self) -> int:
        """Repeated blocks of the model."""
        return len(find_blocks(self.frozen.model)[1])

    @property
    def head_params(self) -> int:
        """Parameters of all heads; none where the model answers in words."""
        return sum(0 if each.config.is_prompted else (self.frozen.width + 1) * each.outputs for each in self.tasks)

    @property
    def majority(self) -> float:
        """Mean over tasks of the quality of always saying the most frequent label."""
        return float(np.mean([each.majority for each in self.tasks]))

    def backbone(self) -> Backbone:
        """The frozen model of this process, on the GPU when there is one."""
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
                each.outputs,
                self.config.model.pooling,
                words=each.words,
                max_new_tokens=each.config.max_new_tokens if each.config.is_generated else None,
                metric=each.config.metric,
                stop=each.stop,
            )
            for each in self.tasks
        ]

    def of(self, number: int) -> Context:
        """Return the context of one task alone, with its share of the steps."""
        config = self.config.of_task(number) if self.config.tasks else self.config
        return replace(self, config=config, tasks=(self.tasks[number],))

    def tested_clean(self) -> Context:
        """Return the same, but tested on clean text alone."""
        return replace(self, tasks=tuple(replace(each, test_perturbed={}) for each in self.tasks))


def prepare(config: Config, revision: str | None = None) -> tuple[Context, list[TaskData]]:
    """Load what workers need, and the text of each task; all tasks share one model.

    Args:
        revision: of the model on the hub, where the configuration says none: what an earlier part of the run was on.

    Raises:
        SlatError: a wrong task or model, in one sentence.
    """
    check_secrets(config)
    configs = [config.of_task(number) for number in range(len(config.tasks))] or [config]
    texts = [load_task(each.task, each.seed) for each in configs]
    prompted = config.task.is_prompted
    model = config.model
    backbone = shared_backbone(
        model.name, model.dropout, model.weights, prompted, model.revision or revision, model.trust_remote_code
    )
    tasks = tuple(_encoded(each, backbone, text) for each, text in zip(configs, texts, strict=True))
    return Context(config, backbone, tasks), texts


def _encoded(config: Config, backbone: Backbone, task: TaskData) -> TaskContext:
    """Tokenize the task of a configuration once, clean and perturbed.

    Raises:
        SlatError: texts or prompts that the model cannot take.
    """
    prompted, generated = config.task.is_prompted, config.task.is_generated
    longest = backbone.longest
    if longest is not None and task.max_length > longest:
        raise SlatError(f"task.max_length: {task.max_length} tokens are more than the {longest} that the model takes")
    most = config.task.max_new_tokens if generated else 0
    if longest is not None and task.max_length + most > longest:
        raise SlatError(
            f"task.max_length: {task.max_length} tokens and the {most} of a response (task.max_new_tokens) are more "
            f"than the {longest} that the model takes; {longest - most} leave room"
        )
    sides = len(config.task.text)
    words: Words = ()
    if prompted:
        template = Template.of(backbone.tokenizer, config.task.text, **config.task.prompt_fields)
        if not generated:
            words = template.words(_words(config, task))
            room = _room(task, words, len(template.start))
    else:
        check_room(backbone.tokenizer, task.max_length, sides)

    def encoded(examples: Sequence[Example], what: str = "") -> Encoded:
        if generated:
            return encode_responses(template, examples, task.max_length, what)
        if prompted:
            return encode_prompts(template, examples, room, what)
        return encode(backbone.tokenizer, examples, task.max_length, None if task.labels else task.scale)

    evaluation = config.evaluation
    clean = {split: encoded(task.splits[split], f"prompts of task {task.name} ({split})") for split in SPLITS}
    for split, data in clean.items():
        check_tokens(backbone.tokenizer, data, sides, f"task {task.name}'s {split} texts")
    return TaskContext(
        config=config.task,
        labels=task.labels,
        train=clean["train"],
        validation=clean["validation"],
        test=clean["test"],
        validation_perturbed=encoded(
            perturb(task.splits["validation"], evaluation.rung_kind, evaluation.rung_ratio, config.seed)
        ),
        test_perturbed={
            (kind, ratio): encoded(perturb(task.splits["test"], kind, ratio, config.seed))
            for kind in evaluation.kinds
            for ratio in evaluation.ratios
            if ratio > 0
        },
        majority=majority_quality(task.metric, clean["train"].labels, clean["test"].labels),
        scale=task.scale,
        made_from=MadeFrom.of(backbone, config.model.weights, task),
        words=words,
        stop=template.stop if generated else (),
    )


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
