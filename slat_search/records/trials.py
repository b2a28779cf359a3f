"""Records of a search: a trial's report, the events of the trial log, decisions at rungs, trials of earlier runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from ..errors import SlatError
from ..files import read_lines
from .base import FileRecord, Record
from .jobs import Measures


class Report(Measures):
    """Report of a trial on its discretized structure, at a rung or at its end.

    Attributes:
        step: optimizer steps done.
        params: of the structure.
        atoms: number of candidates that remain in the supernet.
        seconds: of training and measuring so far.
    """

    step: int
    params: int
    atoms: int
    seconds: float

    def row(self) -> dict[str, Any]:
        """Return the columns of a table; for several tasks also the quality of each under its name."""
        measures = {name: getattr(self, name) for name in _COLUMNS if name in self.model_fields_set}
        return measures | {f"quality: {task}": task_measures.quality for task, task_measures in self.tasks.items()}


_COLUMNS = (
    *("step", "quality", "quality_perturbed", "retained", "loss", "params", "atoms", "seconds", "quality_worst"),
)


class Event(FileRecord):
    """A line of the trial log.

    Attributes:
        event: its kind.
        number: of the trial.
    """

    event: str
    number: int

    def to_dict(self) -> dict[str, Any]:
        return {"event": self.event, **super().to_dict()}


class Created(Event):
    """A trial begins, for the first time or again.

    Attributes:
        sampled: values that the sampler chose.
        attributes: the sampler's notes on it.
    """

    event: Literal["created"] = "created"
    sampled: dict[str, Any]
    attributes: dict[str, Any]


class Reported(Event):
    """A trial reports.

    Attributes:
        structure: the measured structure, packed.
    """

    event: Literal["reported"] = "reported"
    report: Report
    structure: str


class Ended(Event):
    """A trial ends.

    Attributes:
        status: ``completed``, ``stopped`` (by the scheduler), ``diverged`` or ``failed``.
        error: one line, if it diverged or failed.
    """

    event: Literal["over"] = "over"
    status: str
    error: str


_EVENTS: dict[Any, type[Event]] = {"created": Created, "reported": Reported, "over": Ended}


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events of a trial log in order; none for a missing file.

    Raises:
        SlatError: a line is damaged, or of an unknown version.
    """
    for number, raw in enumerate(read_lines(path), 1):
        kind = _EVENTS.get(raw.get("event")) if isinstance(raw, dict) else None
        if kind is None:
            raise SlatError(f"{path}, line {number}: damaged (no event of a trial)")
        yield kind.parse(raw, f"{path}, line {number}")


class Decision(FileRecord):
    """Line of ``rungs.jsonl``: the values of a trial at a rung, and the decision.

    Attributes:
        trial: its name.
        values: one per objective, larger is better.
        decision: a word of Ray Tune's schedulers.
    """

    trial: str
    step: int
    values: list[float]
    decision: str


class EarlierTrial(Record):
    """A finished trial of another run."""

    sampled: dict[str, Any]
    measures: Report


class EarlierTrials(FileRecord):
    """The trials that a search learns from, ``earlier.json``; a file of version 1 is their list."""

    VERSION: ClassVar[int] = 2

    trials: tuple[EarlierTrial, ...]

    @classmethod
    def parse(cls, raw: Any, where: str | Path) -> Self:
        return super().parse({"trials": raw} if isinstance(raw, list) else raw, where)
