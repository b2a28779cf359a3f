"""A live table of a search, which stays at the bottom of the terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..analysis.formats import duration
from ..analysis.fronts import nondominated
from .overall import RunProgress
from .trial_log import Trial, TrialLog

_ROWS = 6  # of the front
_EVERY = 0.5  # seconds between two looks at the ledger


@dataclass(frozen=True)
class Overview:
    """State of a search.

    Attributes:
        counts: how many trials there are of each status.
        front: trials that no other dominates (quality, parameters, quality under perturbation), best quality first.
        running: trials at work, in order of creation.
        left: seconds that the rest will take at the pace so far; None before anything ended.
    """

    counts: Counter[str]
    front: list[Trial]
    running: list[Trial]
    left: float | None


def overview(trials: Sequence[Trial], total: int, elapsed: float, before: int) -> Overview:
    """Count what there is.

    Args:
        trials: of the ledger.
        total: trials of the whole search.
        elapsed: seconds since start or resumption, when ``before`` trials were over.
    """
    reported = [trial for trial in trials if trial.report and trial.status != "diverged"]
    front: list[Trial] = []
    if reported:
        flags = nondominated(pd.DataFrame([trial.measures.row() for trial in reported]))
        front = sorted((t for t, best in zip(reported, flags, strict=True) if best), key=lambda t: -t.measures.quality)
    over = sum(trial.is_over for trial in trials)
    pace = elapsed / (over - before) if over > before else None
    return Overview(
        counts=Counter(trial.status for trial in trials),
        front=front,
        running=[trial for trial in trials if trial.status == "running"],
        left=pace * (total - over) if pace is not None else None,
    )


def table(state: Overview, total: int, steps: int) -> Group:
    """Return a summary in one line, the front, and the trials that run."""
    grid = Table(box=None, pad_edge=False)
    for column in ("trial", "", "step", "parameters", "quality", "retained"):
        grid.add_column(column, justify="left" if column == "" else "right")
    for trial in state.front[:_ROWS]:
        grid.add_row(*_cells(trial, "front", steps))
    for trial in state.running:
        if trial not in state.front[:_ROWS]:
            grid.add_row(*_cells(trial, "runs", steps), style="dim")
    return Group(Text(_title(state, total), style="bold"), grid)


def _title(state: Overview, total: int) -> str:
    counts = [f"{number} {status}" for status, number in sorted(state.counts.items())]
    left = "" if state.left is None else f", about {duration(state.left)} left"
    return f"{total} trials: {', '.join(counts) or 'none yet'}; front of {len(state.front)}{left}"


def _cells(trial: Trial, state: str, steps: int) -> list[str]:
    report = trial.report
    if report is None:
        return [str(trial.number), state, f"0/{steps}", "", "", ""]
    return [
        str(trial.number),
        state,
        f"{report.step}/{steps}",
        f"{report.params:,}",
        f"{report.quality:.3f}",
        f"{report.retained:.1%}",
    ]


class LiveTable(Callback):
    """Keeps :func:`table` at the bottom of a terminal while lines of progress pass above it.

    Args:
        ledger: of the search, which its searcher writes.
        total: trials of the search.
        steps: of a full trial.
        progress: of the whole run, whose bar stands below the table.
    """

    def __init__(self, ledger: TrialLog, total: int, steps: int, progress: RunProgress):
        self._ledger, self._total, self._steps, self._progress = ledger, total, steps, progress
        self._before = sum(trial.is_over for trial in ledger.trials)
        self._began = self._looked = time.monotonic()
        self._live = Live(console=Console(stderr=True), auto_refresh=False)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Ray's own restore is not used, and a terminal cannot be pickled."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if not self._live.is_started:
            self._live.start()
        elif now - self._looked < _EVERY:
            return
        self._looked = now
        self._show()

    def close(self) -> None:
        """Leave the terminal as it was, whatever ended the search; the last table stays."""
        if self._live.is_started:
            self._show()
            self._live.stop()

    def _show(self) -> None:
        state = overview(self._ledger.trials, self._total, time.monotonic() - self._began, self._before)
        shown = Group(table(state, self._total, self._steps), self._progress.bar())
        self._live.update(shown, refresh=True)
