"""Records of a run: its environment, the methods that were chosen and trained, and the recommended adapter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from ..files import read_json
from ..run_folder import RunFolder
from ..structure_text import by_line
from .base import FileName, FileRecord, Record

#: prefix of the label of a method that was trained for each task alone
ALONE_LABEL = "alone-"


class TaskFacts(Record):
    """Facts on a task that tables need.

    Attributes:
        majority: quality on test of always predicting the most frequent training label.
        train, validation, test: number of texts of each split.
        notes: how the splits were made.
        digests: split -> digest of its texts; empty from an earlier version.
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
        params: number of its parameters.
        head_params: number of parameters of all heads.
        layers: number of repeated blocks.
        site_columns: paths of the sites inside a block.
        digests: of ``weights`` and ``tokenizer``; empty from an earlier version.
        revision: commit on the hub that it was read from; empty for a model that is not from there.
    """

    name: str
    params: int
    head_params: int
    layers: int
    site_columns: tuple[str, ...]
    digests: dict[str, str] = Field({})
    revision: str = ""


class Environment(FileRecord):
    """Versions, hardware, texts and model of a run, ``environment.json``.

    In a file of version 1 a single task is stored under ``task``.

    Attributes:
        date: day on which the run was started or last resumed, such as 2026-11-30; empty from an earlier version.
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
        chosen: the learning rate, or a note that none was chosen.
    """

    tried: dict[str, float | None]
    chosen: str


class Final(Record):
    """One training that is compared.

    Attributes:
        key: of its files.
        label: of its method, in files.
        name: of its method, in tables.
        structure: digest of the found structure; empty for a baseline.
        group: name in comparisons of runs, as sizes differ from task to task.
        budget: size of the found structure that the method was made to match, if there is one.
        task: the task that was trained alone; empty where all tasks of the run trained together.
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

    With a file of version 1 the trainings of one task alone are in ``alone.json``.
    """

    VERSION: ClassVar[int] = 2

    finals: tuple[Final, ...]
    tuning: dict[str, Tuning]

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """Read the selection of a run.

        Raises:
            SlatError: missing, damaged, or of an unknown version.
        """
        raw, alone_path = read_json(run / "selection.json"), run / "alone.json"
        selection = cls.parse(raw, run / "selection.json")
        if "version" in raw or not alone_path.is_file():
            return selection
        alone_selection = _AloneSelection.read(alone_path)
        return selection.with_more(alone_selection.finals, alone_selection.tuning)

    def with_more(self, finals: tuple[Final, ...], tuning: dict[str, Tuning]) -> Self:
        """Return a copy with further trainings."""
        return self.model_copy(update={"finals": self.finals + finals, "tuning": {**self.tuning, **tuning}})


class _AloneSelection(Selection):
    """Trainings of one task alone as version 1 stored them: with their whole structure, and without a group."""

    VERSION: ClassVar[int] = 1

    @classmethod
    def upgraded(cls, raw: dict[str, Any], version: int) -> dict[str, Any]:
        return {**raw, "finals": [_upgraded_final(final) for final in raw["finals"]]}


def _upgraded_final(final: dict[str, Any]) -> dict[str, Any]:
    structure = final["structure"]
    digest = hashlib.sha256(by_line(structure).encode()).hexdigest()[:10] if structure else ""
    return {**final, "structure": digest, "group": final["name"], "budget": None}


class StudyPoint(Record):
    """One method at one setting of a sensitivity study, with one seed.

    Attributes:
        study: ``sparsity``, ``sharing`` or ``noise``.
        method: name in tables.
        kind: of noise; ``weight`` in the studies of the weights of sparsity and sharing.
        value: noise ratio or weight; None where a method has no weight.
        key: of the training, which points of several studies may have in common.
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
        adapter: label of the recommended adapter.
        found: label of the recommended one among those that the search found.
        notes: label -> caveats on an adapter.
    """

    adapter: FileName
    found: FileName | None = None
    notes: dict[str, str] = Field({})
