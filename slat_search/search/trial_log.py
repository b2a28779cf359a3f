"""A log of every trial of a search, written to disk before anything depends on it.

Ray's own snapshots are written every few seconds, so a killed driver loses all events after the last of them, and a
restored experiment has its trials under random names in another order. A search resumes from the ledger instead.
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
        sampled: values that the sampler chose.
        status: ``running``, ``completed``, ``stopped`` (by the scheduler), ``diverged`` or ``failed``.
        history: its reports, one per step.
        structure: discretized structure of the last report; a shared one for several tasks.
        error: one line, if it diverged or failed.
        attributes: the sampler's notes on it.
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
        """Return the last report; None if there is none."""
        return self.history[-1] if self.history else None

    @property
    def measures(self) -> Report:
        """Return the last report of a trial that has one."""
        return self.history[-1]

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended; a failed one is retried on resume."""
        return self.status in ("completed", "stopped", "diverged")


class TrialLog:
    """Events of trials as JSON lines, and the trials that follow from them.

    Args:
        path: the file, an attribute as well; an existing one is resumed.
    """

    def __init__(self, path: Path):
        self.path = path
        self._trials: dict[int, Trial] = {}
        self._ended: list[int] = []
        for event in read_events(path):
            self._apply(event)

    @property
    def trials(self) -> list[Trial]:
        """Return the trials in order of creation."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def ended(self) -> list[Trial]:
        """Return the trials that have ended, in the order in which they did."""
        return [self._trials[number] for number in self._ended]

    def __getitem__(self, number: int) -> Trial:
        return self._trials[number]

    def created(self, number: int, sampled: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> None:
        """Record that a trial begins, for the first time or again."""
        self._write(Created(number=number, sampled=dict(sampled), attributes=dict(attributes or {})))

    def reported(self, number: int, result: Mapping[str, Any]) -> None:
        """Record a report of a trial; a report of a step that is recorded already is ignored."""
        if all(report.step != result["step"] for report in self._trials[number].history):
            report = Report(**{name: result[name] for name in Report.model_fields if name in result})
            self._write(Reported(number=number, report=report, structure=result["structure"]))

    def over(self, number: int, status: str, error: str = "") -> None:
        """Record that a trial ends."""
        self._write(Ended(number=number, status=status, error=error))

    def _write(self, event: Event) -> None:
        event.append(self.path)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        trial = self._trials.get(event.number)
        if isinstance(event, Created):
            if trial is None or trial.sampled != event.sampled:
                self._trials[event.number] = Trial(event.number, event.sampled, attributes=event.attributes)
            else:
                self._trials[event.number] = replace(trial, status="running", error="")
            return
        if trial is None:
            raise SlatError(f"{self.path}: damaged (trial {event.number} was never created)")
        if isinstance(event, Reported):
            try:
                structure = unpack(event.structure)
            except SlatError as error:
                where = f"report {event.report.step} of trial {event.number}"
                raise SlatError(f"{self.path}: damaged ({where}: {error})") from error
            self._trials[event.number] = replace(trial, history=(*trial.history, event.report), structure=structure)
        elif isinstance(event, Ended):
            self._trials[event.number] = replace(trial, status=event.status, error=event.error)
            if self._trials[event.number].is_over:
                self._ended.append(event.number)


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
