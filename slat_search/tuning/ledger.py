"""What happened to every trial of a search, on disk before anything follows from it.

Ray's own snapshots are written every few seconds, so a killed driver loses what came after the last of them, and a
restored experiment knows its trials by random names in another order. The ledger is what a search goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..run_folder import append_line, read_lines
from ..structure import SharedStructure, Structure, unpack

MEASURES = ("step", "quality", "quality_perturbed", "retained", "loss", "params", "atoms", "seconds")


#: of several tasks beside their means
OF_SEVERAL = ("quality_worst", "tasks")


@dataclass(frozen=True)
class Trial:
    """What is known of one trial.

    Attributes:
        number: order of creation, from 0.
        sampled: what the sampler chose.
        status: ``running``, ``completed``, ``stopped`` (by the scheduler), ``diverged`` or ``failed``.
        history: its reports, one a step: the keys of ``MEASURES``.
        structure: discretised structure of the last report; shared, where there are several tasks.
        error: one line, where it diverged or failed.
        attributes: what the sampler noted down about it.
    """

    number: int
    sampled: dict[str, Any]
    status: str = "running"
    history: tuple[dict[str, Any], ...] = ()
    structure: Structure | SharedStructure | None = None
    error: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def measures(self) -> dict[str, Any]:
        """The last report; empty when there was none."""
        return self.history[-1] if self.history else {}

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do; a failed trial is tried again when the search goes on."""
        return self.status in ("completed", "stopped", "diverged")


class Ledger:
    """Events of trials as JSON lines, and the trials that follow from them.

    Args:
        path: the file, an attribute as well; an existing one is gone on with.
    """

    def __init__(self, path: Path):
        self.path = path
        self._trials: dict[int, Trial] = {}
        self._order: list[int] = []
        for event in read_lines(path):
            self._apply(event)

    @property
    def trials(self) -> list[Trial]:
        """In order of creation."""
        return [self._trials[number] for number in sorted(self._trials)]

    @property
    def ended(self) -> list[Trial]:
        """Those that are over, in the order in which they ended."""
        return [self._trials[number] for number in self._order]

    def __getitem__(self, number: int) -> Trial:
        return self._trials[number]

    def created(self, number: int, sampled: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> None:
        """A trial begins, for the first time or again."""
        event = {"event": "created", "number": number, "sampled": dict(sampled), "attributes": dict(attributes or {})}
        self._write(event)

    def reported(self, number: int, result: Mapping[str, Any]) -> None:
        """A trial reports; a step that it reported before changes nothing."""
        if all(report["step"] != result["step"] for report in self._trials[number].history):
            report = {key: result[key] for key in (*MEASURES, *(name for name in result if name in OF_SEVERAL))}
            self._write({"event": "reported", "number": number, "report": report, "structure": result["structure"]})

    def over(self, number: int, status: str, error: str = "") -> None:
        """A trial ends."""
        self._write({"event": "over", "number": number, "status": status, "error": error})

    def _write(self, event: dict[str, Any]) -> None:
        append_line(self.path, event)
        self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        number = event["number"]
        if event["event"] == "created":
            known = self._trials.get(number)
            if known is None or known.sampled != event["sampled"]:
                self._trials[number] = Trial(number, event["sampled"], attributes=event["attributes"])
            else:
                self._trials[number] = replace(known, status="running", error="")
        elif event["event"] == "reported":
            known = self._trials[number]
            self._trials[number] = replace(
                known, history=(*known.history, event["report"]), structure=unpack(event["structure"])
            )
        else:
            self._trials[number] = replace(self._trials[number], status=event["status"], error=event["error"])
            if self._trials[number].is_over:
                self._order.append(number)


def flat(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as columns: of several tasks the quality of each under its name."""
    tasks = report.get("tasks", {})
    return {
        **{name: value for name, value in report.items() if name != "tasks"},
        **{f"quality: {task}": found["quality"] for task, found in tasks.items()},
    }


def trials_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """A row a trial: what it sampled, its last measures, and what became of it."""
    return pd.DataFrame(
        {
            "trial": t.number,
            "status": t.status,
            **t.sampled,
            **flat(t.measures),
            "structure": t.structure.digest if t.structure else "",
            "error": t.error,
        }
        for t in trials
    )
