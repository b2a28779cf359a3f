"""A live table of a search at the bottom of the terminal."""

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
_INTERVAL = 0.5  # seconds between two updates from the ledger


@dataclass(frozen=True)
class Overview:
    """State of a search.

    Attributes:
        counts: status -> number of trials.
        front: trials that no other dominates (quality, parameters, quality under perturbation), best quality first.
        running: running trials, in order of creation.
        left: estimated seconds for the remaining trials; None before a trial has ended.
    """

    counts: Counter[str]
    front: list[Trial]
    running: list[Trial]
    left: float | None


def overview(trials: Sequence[Trial], total: int, elapsed: float, before: int) -> Overview:
    """Return the overview of a search.

    Args:
        trials: of the ledger.
        total: number of trials of the whole search.
        elapsed: seconds since the search was started or resumed.
        before: number of trials that had ended by then.
    """
    reported = [trial for trial in trials if trial.report and trial.status != "diverged"]
    front: list[Trial] = []
    if reported:
        flags = nondominated(pd.DataFrame([trial.measures.row() for trial in reported]))
        front = sorted(
            (t for t, is_best in zip(reported, flags, strict=True) if is_best), key=lambda t: -t.measures.quality
        )
    finished = sum(trial.is_over for trial in trials)
    pace = elapsed / (finished - before) if finished > before else None
    return Overview(
        counts=Counter(trial.status for trial in trials),
        front=front,
        running=[trial for trial in trials if trial.status == "running"],
        left=pace * (total - finished) if pace is not None else None,
    )


def table(state: Overview, total: int, steps: int) -> Group:
    """Return a summary in one line, the front, and the running trials."""
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
    counts = [f"{count} {status}" for status, count in sorted(state.counts.items())]
    remaining = "" if state.left is None else f", about {duration(state.left)} left"
    return f"{total} trials: {', '.join(counts) or 'none yet'}; front of {len(state.front)}{remaining}"


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
        total: number of trials of the search.
        steps: steps of a full trial.
        progress: progress of the whole run, whose bar is shown below the table.
    """

    def __init__(self, ledger: TrialLog, total: int, steps: int, progress: RunProgress):
        self._ledger, self._total, self._steps, self._progress = ledger, total, steps, progress
        self._finished_before = sum(trial.is_over for trial in ledger.trials)
        self._start = self._last_update = time.monotonic()
        self._live = Live(console=Console(stderr=True), auto_refresh=False)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle nothing: Ray's own restore is not used, and a terminal cannot be pickled."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if not self._live.is_started:
            self._live.start()
        elif now - self._last_update < _INTERVAL:
            return
        self._last_update = now
        self._update()

    def close(self) -> None:
        """Release the terminal, however the search ended; the last table stays visible."""
        if self._live.is_started:
            self._update()
            self._live.stop()

    def _update(self) -> None:
        state = overview(self._ledger.trials, self._total, time.monotonic() - self._start, self._finished_before)
        group = Group(table(state, self._total, self._steps), self._progress.bar())
        self._live.update(group, refresh=True)
