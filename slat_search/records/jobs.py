"""Records of a training: the job, its result on validation, and its results on test texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from ..files import read_json
from .base import FileRecord, Record

Sets = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TrainingJob:
    """One training: a method with its options under a plan.

    Attributes:
        method: key of ``baselines.METHODS``, or ``search``: a structure search whose own weights are the result.
        label: name of the row in tables, e.g. ``lora`` or ``slat-3f2a...``.
        options: of the method (JSON values only); for ``search`` further sampled values of ``search_trial``.
        learning_rate, noise_kind, noise_ratio, seed: of the plan.
    """

    method: str
    label: str
    learning_rate: float
    seed: int
    noise_kind: str = "none"
    noise_ratio: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Return the file name of the result."""
        return f"{self.label}_lr{self.learning_rate:g}_seed{self.seed}"


class Measures(Record):
    """Measures on validation.

    Attributes:
        quality, quality_perturbed: the task's metric on clean and on perturbed text; for several tasks their mean.
        retained: perturbed over clean quality.
        loss: on clean text.
        quality_worst: for several tasks, the quality of the worst one.
        tasks: for several tasks, the measures of each by name.
    """

    quality: float
    quality_perturbed: float
    retained: float
    loss: float
    quality_worst: float | None = None
    tasks: dict[str, Measures] = Field({})

    def of(self, task: str) -> Measures:
        """Return the measures of one task; for a single task these are the measures themselves."""
        return self.tasks[task] if self.tasks else self


class _JobRecord(FileRecord):
    """A file of a training, which version 1 called a unit."""

    VERSION: ClassVar[int] = 2

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        """Return the fields of this version from those of an earlier one."""
        return raw if version > 1 or "unit" not in raw else {**_without(raw, "unit"), "job": raw["unit"]}

    job: TrainingJob


def _without(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key != name}


class Trained(_JobRecord):
    """A successful training, ``<key>.train.json``.

    Attributes:
        job: the job that was trained.
        validation: measures on validation; for a search those of the discretized structure.
        params: trained parameters without heads.
        bytes: to be stored; None from an earlier version, which did not count them.
        memory: peak in bytes beyond model and data; None if the system does not report it.
        structure: JSON of the structure that a search found.
    """

    validation: Measures
    params: int
    bytes: int | None = None
    steps: int
    seconds: float
    step_seconds: float
    memory: int | None
    structure: dict[str, Any] | None = None

    @property
    def modules(self) -> dict[str, Any] | None:
        """Return the JSON of the structure that was trained or found; None for a method without one."""
        return self.structure or self.job.options.get("structure")


class Failed(_JobRecord):
    """A failed training, ``<key>.train.json``: the loss was not finite, or memory ran out."""

    error: str


def read_training(path: Path) -> Trained | Failed:
    """Read ``<key>.train.json``.

    Raises:
        SlatError: missing, damaged, or of an unknown version.
    """
    raw = read_json(path)
    return (Failed if isinstance(raw, dict) and "error" in raw else Trained).parse(raw, path)


class PerturbedQuality(Record):
    """Quality on texts under one kind and ratio of perturbation."""

    kind: str
    ratio: float
    quality: float


class TaskTest(Record):
    """Measures of a trained model on the test texts of one task.

    Attributes:
        quality: on clean text.
        perturbed: on perturbed text.
        seconds_per_text: seconds for the logits of a text, in batches.
        seconds_of_one: seconds for the logits of a single text; None from an earlier version, which did not measure it.
        loss: on clean text; None from an earlier version, which did not store it.
    """

    quality: float
    loss: float | None = None
    perturbed: tuple[PerturbedQuality, ...]
    seconds_per_text: float
    seconds_of_one: float | None = None

    @property
    def sets(self) -> Sets:
        """Return (kind, ratio) of each set of texts, the clean one first."""
        return (("clean", 0.0), *((point.kind, point.ratio) for point in self.perturbed))

    @property
    def qualities(self) -> list[float]:
        """Return the quality on each of :attr:`sets`."""
        return [self.quality, *(point.quality for point in self.perturbed)]


class Tested(FileRecord):
    """A test evaluation, ``<key>.test.json``.

    Attributes:
        quality: on clean text, mean over tasks.
        tasks: results on each task, by name; in a file of version 1 a single task has none.
    """

    VERSION: ClassVar[int] = 2

    quality: float
    tasks: dict[str, TaskTest] = Field(min_length=1)

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        if version > 1 or "tasks" in raw:
            return raw
        return {"quality": raw.get("quality"), "tasks": {"": raw}}

    @property
    def by_number(self) -> list[TaskTest]:
        """Return the tests in the order of the tasks."""
        return list(self.tasks.values())
