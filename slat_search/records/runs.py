"""Records of a run: what it was made on, what was chosen and trained, which adapter is recommended."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from ..files import read_json
from ..run_folder import RunFolder
from ..structure_text import by_line
from .base import FileName, FileRecord, Record

#: before the label of a method that was trained for each task alone
ALONE_LABEL = "alone-"


class TaskFacts(Record):
    """Facts on a task that tables need.

    Attributes:
        majority: quality on test of always saying the most frequent training label.
        train, validation, test: texts of each split.
        notes: how the splits came about.
        digests: split -> of its texts; none of an earlier version.
    """

    name: str
    labels: tuple[str, ...]
    majority: float
    train: int
    validation: int
    test: int
    notes: tuple[str, ...] = ()
    digests: dict[str, str] = Field({})


class ModelFacts(Record):
    """Facts on the frozen model that tables need.

    Attributes:
        params: its size.
        head_params: of all heads.
        layers: repeated blocks.
        site_columns: paths of the places inside a block.
        digests: of ``weights`` and ``tokenizer``; none of an earlier version.
        revision: commit on the hub that it was read from; empty of a model that is not from there.
    """

    name: str
    params: int
    head_params: int
    layers: int
    site_columns: tuple[str, ...]
    digests: dict[str, str] = Field({})
    revision: str = ""


class Environment(FileRecord):
    """Versions, hardware, texts and model of a run, ``environment.json``; in a file of version 1 a single task stands
    under ``task``.

    Attributes:
        date: day on which the run began or was resumed last, such as 2026-11-30; empty of an earlier version.
    """

    VERSION: ClassVar[int] = 2

    date: str = ""
    versions: dict[str, str] = Field({})
    hardware: dict[str, Any] = Field({})
    tasks: tuple[TaskFacts, ...] = Field(min_length=1)
    model: ModelFacts

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        if "task" in raw:
            raw["tasks"] = [raw.pop("task")]
        return raw


class Tuning(Record):
    """How the learning rate of a method was chosen.

    Attributes:
        tried: learning rate -> validation quality, None where training diverged.
        chosen: the learning rate, or that none was.
    """

    tried: dict[str, float | None]
    chosen: str


class Final(Record):
    """One training that is compared.

    Attributes:
        key: of its files.
        label: of its method, in files.
        name: of its method, in tables.
        structure: digest of what was found; empty for a baseline.
        group: name where runs are compared, as sizes differ from task to task.
        budget: size that the method was made for, if it was made in the size of a found structure.
        task: that was trained alone; empty where all tasks of the run trained together.
        tuned_as: name in ``tuning``, where it is not ``name``.
    """

    key: FileName
    label: FileName
    name: str
    structure: str
    group: str
    budget: int | None
    task: FileName | Literal[""] = ""
    tuned_as: str = ""

    @property
    def unit_label(self) -> str:
        """Return the label of the training itself."""
        return self.label.removeprefix(ALONE_LABEL) if self.task else self.label

    def files_in(self, run: RunFolder) -> Path:
        """Return the folder of its files."""
        return run / "units" / "alone" / self.task if self.task else run / "units"


class Selection(FileRecord):
    """The methods that are compared and how their learning rates were chosen, ``selection.json``.

    In files of version 1 the trainings for one task alone stand in ``alone.json``.
    """

    VERSION: ClassVar[int] = 2

    finals: tuple[Final, ...]
    tuning: dict[str, Tuning]

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """Read that of a run.

        Raises:
            SlatError: missing, damaged, or of a version that is not known.
        """
        raw, alone = read_json(run / "selection.json"), run / "alone.json"
        selection = cls.parse(raw, run / "selection.json")
        if "version" in raw or not alone.is_file():
            return selection
        apart = _Alone.read(alone)
        return selection.with_more(apart.finals, apart.tuning)

    def with_more(self, finals: tuple[Final, ...], tuning: dict[str, Tuning]) -> Self:
        """Return it with further trainings."""
        return self.model_copy(update={"finals": self.finals + finals, "tuning": {**self.tuning, **tuning}})


class _Alone(Selection):
    """Trainings of one task alone as version 1 kept them: with their whole structure, and without a group."""

    VERSION: ClassVar[int] = 1

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        return {**raw, "finals": [_alone(final) for final in raw["finals"]]}


def _alone(final: dict[str, Any]) -> dict[str, Any]:
    structure = final["structure"]
    digest = hashlib.sha256(by_line(structure).encode()).hexdigest()[:10] if structure else ""
    return {**final, "structure": digest, "group": final["name"], "budget": None}


class StudyPoint(Record):
    """One method at one setting of a sensitivity study, with one seed.

    Attributes:
        study: ``sparsity``, ``sharing`` or ``noise``.
        method: name in tables.
        kind: of noise; ``weight`` in the studies of the weights of sparsity and of sharing.
        value: noise ratio or weight; None where a method has no weight.
        key: of the training; points of several studies may share it.
    """

    study: str
    method: str
    kind: str
    value: float | None
    key: FileName


class ReferencePoint(Record):
    """A training without noise that is tested on perturbed text."""

    method: str
    key: FileName


class StudyPoints(FileRecord):
    """The points that the trainings of sensitivity studies belong to, ``points.json``."""

    points: tuple[StudyPoint, ...]
    reference: tuple[ReferencePoint, ...]
    tuning: dict[str, Tuning]


class Recommended(FileRecord):
    """Which adapter to use, ``adapters/best.json``.

    Attributes:
        adapter: label of the recommended one of all.
        found: label of the recommended one of those that the search found.
        notes: label -> caveats of an adapter.
    """

    adapter: FileName
    found: FileName | None = None
    notes: dict[str, str] = Field({})
