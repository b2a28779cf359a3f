"""A log of every trial of a search, on disk before anything follows from it.

Ray's own snapshots are written every few seconds, so a killed driver loses what came after the last of them, and a
restored experiment knows its trials by random names in another order. The ledger is what a search goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import SlatError
from ..records import (
    Created,
    Ended,
    Event,
    Report,
    Reported,
    read_events,
)
from ..structure import SharedStructure, Structure, unpack


@dataclass(frozen=True)
class Trial:
    """The state of one trial.

    Attributes:
        number: order of creation, from 0.
        sampled: what the sampler chose.
        status: ``running``, ``completed``, ``stopped`` (by the scheduler), ``diverged`` or ``failed``.
        history: its reports, one a step.
        structure: discretised structure of the last report; shared, where there are several tasks.
        error: one line, where it diverged or failed.
        attributes: what the sampler noted down about it.
    """

    number: int
    sampled: dict[str, Any]
    status: str = "running"
    history: tuple[Report, ...] = ()
    structure: Structure | SharedStructure | None = None
    error: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def report(self) -> Report | None:
        """The last report; None when there was none."""
        return self.history[-1] if self.history else None

    @property
    def measures(self) -> Report:
        """The last report of a trial that has one."""
        return self.history[-1]

    @property
    def is_over(self) -> bool:
        """Whether the trial is finished; a failed one is retried on resume."""
        return self.status in ("completed", "stopped", "diverged")


class TrialLog:
    """Events of trials as JSON lines, and the trials that follow from them.

    Args:
        path: the file, an attribute as well; an existing one is resumed.
    """

    def __init__(self, path: Path):
        self.path = path
        self._trials: dict[int, Trial] = {}
        self._order: list[int] = []
        for event in read_events(path):
            self._apply(event)

    @property
    def trials(self) -> list[Trial]:
        """In order of creation."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def ended(self) -> list[Trial]:
        """Return the trials that are over, in the order in which they ended."""
        return [self._trials[number] for number in self._order]

    def __getitem__(self, number: int) -> Trial:
        return self._trials[number]

    def created(self, number: int, sampled: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> None:
        """A trial begins, for the first time or again."""
        self._write(Created(number=number, sampled=dict(sampled), attributes=dict(attributes or {})))

    def reported(self, number: int, result: Mapping[str, Any]) -> None:
        """A trial reports; a step that it reported before changes nothing."""
        if all(report.step != result["step"] for report in self._trials[number].history):
            report = Report(**{name: result[name] for name in Report.model_fields if name in result})
            self._write(Reported(number=number, report=report, structure=result["structure"]))

    def over(self, number: int, status: str, error: str = "") -> None:
        """A trial ends."""
        self._write(Ended(number=number, status=status, error=error))

    def _write(self, event: Event) -> None:
        event.append(self.path)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        known = self._trials.get(event.number)
        if isinstance(event, Created):
            if known is None or known.sampled != event.sampled:
                self._trials[event.number] = Trial(event.number, event.sampled, attributes=event.attributes)
            else:
                self._trials[event.number] = replace(known, status="running", error="")
            return
        if known is None:
            raise SlatError(f"{self.path}: damaged (trial {event.number} was never created)")
        if isinstance(event, Reported):
            try:
                structure = unpack(event.structure)
            except SlatError as error:
                where = f"report {event.report.step} of trial {event.number}"
                raise SlatError(f"{self.path}: damaged ({where}: {error})") from error
            self._trials[event.number] = replace(known, history=(*known.history, event.report), structure=structure)
        elif isinstance(event, Ended):
            self._trials[event.number] = replace(known, status=event.status, error=event.error)
            if self._trials[event.number].is_over:
                self._order.append(event.number)


def trials_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return one row per trial: sampled values, last measures, status."""
    return pd.DataFrame(
        {
            "trial": t.number,
            "status": t.status,
            **t.sampled,
            **(t.report.row() if t.report else {}),
            "structure": t.structure.digest if t.structure else "",
            "error": t.error,
        }
        for t in trials
    )
