"""What all trainings of a run share: encoded text and a few words on the model. Made once, on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import Config
from ..tasks import Encoded, Example, TaskData, encode, load_task, perturb
from .backbone import Backbone, shared_backbone
from .classifier import TextClassifier


@dataclass(frozen=True)
class Context:
    """Everything that a worker needs; picklable and read-only.

    Attributes:
        config: the run's.
        labels: label names.
        train, validation, test: encoded splits.
        validation_perturbed: validation text as seen at every rung.
        test_perturbed: (kind, ratio) -> perturbed test text.
        majority: accuracy of the most frequent label on test.
        backbone_params: size of the frozen model.
        width: size of a token vector.
    """

    config: Config
    labels: tuple[str, ...]
    train: Encoded
    validation: Encoded
    test: Encoded
    validation_perturbed: Encoded
    test_perturbed: dict[tuple[str, float], Encoded]
    majority: float
    backbone_params: int
    width: int

    @property
    def head_params(self) -> int:
        return (self.width + 1) * len(self.labels)

    def backbone(self) -> Backbone:
        """The frozen model of this worker, loaded on first use, on the GPU when there is one."""
        found = shared_backbone(self.config.model.name, self.config.model.dropout)
        found.place("cuda" if torch.cuda.is_available() else "cpu", self.config.model.precision)
        return found

    def classifier(self) -> TextClassifier:
        """A fresh head on this worker's backbone."""
        backbone = self.backbone()
        model = TextClassifier(backbone.model, backbone.width, len(self.labels), self.config.model.pooling)
        return model.to(next(backbone.model.parameters()).device)


def prepare(config: Config) -> tuple[Context, TaskData]:
    """Load the task and tokenise it once, clean and perturbed.

    Raises:
        SlatError: a wrong task or model, in one sentence.
    """
    task = load_task(config.task, config.seed)
    backbone = shared_backbone(config.model.name, config.model.dropout)

    def encoded(examples: Sequence[Example]) -> Encoded:
        return encode(backbone.tokenizer, examples, task.max_length)

    evaluation = config.evaluation
    context = Context(
        config=config,
        labels=task.labels,
        train=encoded(task.splits["train"]),
        validation=encoded(task.splits["validation"]),
        test=encoded(task.splits["test"]),
        validation_perturbed=encoded(
            perturb(task.splits["validation"], evaluation.rung_kind, evaluation.rung_ratio, config.seed)
        ),
        test_perturbed={
            (kind, ratio): encoded(perturb(task.splits["test"], kind, ratio, config.seed))
            for kind in evaluation.kinds
            for ratio in evaluation.ratios
            if ratio > 0
        },
        majority=task.majority_share,
        backbone_params=backbone.params,
        width=backbone.width,
    )
    return context, task
