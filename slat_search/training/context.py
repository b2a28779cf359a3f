"""The context that all trainings of a run share: encoded text and the model. Made once, on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import Config
from ..errors import SlatError
from ..metrics import majority_quality
from ..models.backbone import Backbone, shared_backbone
from ..models.classifier import TextClassifier
from ..structure import find_blocks
from ..tasks import (
    SPLITS,
    Encoded,
    Example,
    TaskData,
    check_room,
    check_tokens,
    encode,
    load_task,
    perturb,
)
from .digests import MadeFrom


@dataclass(frozen=True)
class Context:
    """Everything that a worker needs; picklable and read-only.

    Attributes:
        config: the run's.
        labels: label names; none in a regression.
        train, validation, test: encoded splits.
        validation_perturbed: validation text as seen at every rung.
        test_perturbed: (kind, ratio) -> perturbed test text.
        majority: quality on test of always saying the most frequent training label.
        scale: mean and standard deviation of the labels that a regression learns at mean 0 and deviation 1.
        frozen: the model, which travels with the rest.
        made_from: digests of text and model.
    """

    config: Config
    labels: tuple[str, ...]
    train: Encoded
    validation: Encoded
    test: Encoded
    validation_perturbed: Encoded
    test_perturbed: dict[tuple[str, float], Encoded]
    majority: float
    scale: tuple[float, float]
    frozen: Backbone
    made_from: MadeFrom

    @property
    def parts(self) -> tuple[Context, ...]:
        """The tasks that train together: this one."""
        return (self,)

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
        return (self.frozen.width + 1) * self.outputs

    @property
    def outputs(self) -> int:
        """Return the outputs of the head: one a label, or one number in a regression."""
        return max(1, len(self.labels))

    def backbone(self) -> Backbone:
        """The frozen model of this process, on the GPU when there is one."""
        self.frozen.place("cuda" if torch.cuda.is_available() else "cpu", self.config.model.precision)
        return self.frozen

    def classifier(self) -> TextClassifier:
        """A fresh head on this worker's backbone."""
        backbone = self.backbone()
        model = TextClassifier(backbone.model, backbone.width, self.outputs, self.config.model.pooling)
        return model.to(next(backbone.model.parameters()).device)


def prepare(config: Config) -> tuple[Context, TaskData]:
    """Load the task and tokenise it once, clean and perturbed.

    Raises:
        SlatError: a wrong task or model, in one sentence.
    """
    task = load_task(config.task, config.seed)
    backbone = shared_backbone(config.model.name, config.model.dropout, config.model.weights)

    longest = backbone.longest
    if longest is not None and task.max_length > longest:
        raise SlatError(f"task.max_length: {task.max_length} tokens are more than the {longest} that the model takes")
    sides = len(config.task.text)
    check_room(backbone.tokenizer, task.max_length, sides)

    def encoded(examples: Sequence[Example]) -> Encoded:
        return encode(backbone.tokenizer, examples, task.max_length, None if task.labels else task.scale)

    evaluation = config.evaluation
    clean = {split: encoded(task.splits[split]) for split in SPLITS}
    for split, data in clean.items():
        check_tokens(backbone.tokenizer, data, sides, f"task {task.name}'s {split} texts")
    context = Context(
        config=config,
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
        frozen=backbone,
        made_from=MadeFrom.of(backbone, config.model.weights, task),
    )
    return context, task
