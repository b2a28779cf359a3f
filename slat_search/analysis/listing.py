"""List the runs below a folder: progress, best result and disk usage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.search import Search
from ..errors import SlatError
from ..records import Ended, Environment, KeptConfig, read_events
from ..run_folder import RunFolder
from .choice import recommended_in
from .data import read_results, read_trials
from .formats import in_bytes
from .tables import comparison

_AGES = ((2 * 86400, 86400, "d"), (2 * 3600, 3600, "h"), (120, 60, "min"), (0, 1, "s"))  # from, divided by, unit


@dataclass(frozen=True)
class Listed:
    """One run.

    Attributes:
        path: as seen from where the list was asked for.
        state: ``done``, ``running``, ``interrupted``, ``search alone``, ``baselines alone``, ``studies alone``,
            ``tables alone`` (of a run whose trainings were not kept) or ``damaged``.
        detail: how far it is.
        fault: what is wrong with its files.
        task, model: names; several tasks joined by ``+``.
        method: recommended, or the best trial of a search alone.
        quality: of it, on test; of a search alone on validation. None where there is nothing yet.
        measured: ``test`` or ``validation``, and the metric.
        params: parameters of its adapter.
        size: bytes on the disk.
        changed: when it was written to last, in seconds since 1970.
    """

    path: str
    state: str
    detail: str = ""
    fault: str = ""
    task: str = ""
    model: str = ""
    method: str = ""
    quality: float | None = None
    measured: str = ""
    params: int | None = None
    size: int = 0
    changed: float = 0.0


def runs_below(folder: Path) -> list[Listed]:
    """List the runs in a folder and in those below it, those that were written to last first.

    Raises:
        SlatError: no such folder.
    """
    if not folder.is_dir():
        raise SlatError(f"{folder}: no such folder")
    return sorted((listed(path) for path in _runs(folder)), key=lambda run: -run.changed)


def _runs(folder: Path) -> Iterator[Path]:
    for root, folders, _ in os.walk(folder):
        if RunFolder(root).exists:
            folders.clear()
            yield Path(root)


def listed(path: Path) -> Listed:
    """Look at one run; a fault of its files is its state."""
    run = RunFolder(path)
    files = [file.stat() for file in path.rglob("*") if file.is_file() and not file.is_symlink()]
    size, changed = sum(file.st_size for file in files), max(file.st_mtime for file in files)
    facts: dict[str, Any] = {"path": str(path), "state": "damaged", "size": size, "changed": changed}
    try:
        config, environment = KeptConfig.of(run), Environment.read(run / "environment.json")
        facts |= {
            "state": _state(run),
            "task": " + ".join(task.name for task in environment.tasks),
            "model": environment.model.name,
        }
        if facts["state"] in ("running", "interrupted", "search alone"):
            facts["detail"] = _progress(run, config)
        facts |= _best(run, config, environment)
    except SlatError as error:
        facts["fault"] = str(error)
    return Listed(**facts)


def _best(run: RunFolder, config: KeptConfig, environment: Environment) -> dict[str, Any]:
    """Return the recommended row; of a search alone its best trial."""
    if (run / "points.json").is_file():
        return {}
    if (run / "results.csv").is_file():
        return _recommended(run, environment) | {"measured": f"test {config.metric}"}
    if (run / "trials.csv").is_file():
        return _best_trial(run) | {"measured": f"validation {config.metric}"}
    return {}


def _state(run: RunFolder) -> str:
    if run.is_at_work:
        return "running"
    if (run / "points.json").is_file():
        return "studies alone"
    if run.is_done:
        return "done"
    if (run / "results.csv").is_file():
        return "interrupted" if (run / "units").is_dir() else "tables alone"
    if (run / "trials.csv").is_file() and not (run / "units").is_dir():
        return "search alone"
    return "baselines alone" if (run / "baselines.csv").is_file() else "interrupted"


def _progress(run: RunFolder, config: KeptConfig) -> str:
    """Return how many trials of the search are over, and how many models were trained since."""
    events = [event for event in read_events(run / "search" / "ledger.jsonl") if isinstance(event, Ended)]
    over = len({event.number for event in events if event.status != "failed"})
    total = config.raw.get("search", {}).get("trials", Search.model_fields["trials"].default)
    trained = len(list(run.root.glob("units/*.train.json")))
    return f"{over} of {total} trials" + (f", {trained} trainings" if trained else "")


def _recommended(run: RunFolder, environment: Environment) -> dict[str, Any]:
    """Return the recommended method."""
    row = recommended_in(run, comparison(read_results(run, environment)))
    if row is None:
        return {}
    return {"method": str(row["name"]), "quality": float(row["quality"]), "params": int(row["params"])}


def _best_trial(run: RunFolder) -> dict[str, Any]:
    trials = read_trials(run)
    if "quality" not in trials or trials["quality"].isna().all():
        return {}
    best = trials.sort_values("quality", ascending=False, kind="stable").iloc[0]
    return {"method": f"trial {best['trial']}", "quality": float(best["quality"]), "params": int(best["params"])}


def table_of(runs: list[Listed], now: float | None = None) -> str:
    """Return one line per run."""
    now = time.time() if now is None else now
    lines = [("run", "state", "task", "model", "quality", "of", "parameters", "size", "age")]
    for run in runs:
        state = f"{run.state}: {run.detail}" if run.detail else run.state
        quality = "" if run.quality is None else f"{run.quality:.3f}"
        params = "" if run.params is None else f"{run.params:,}"
        cells = (quality, run.method, params, in_bytes(run.size), _age(now - run.changed))
        lines.append((run.path, state, run.task, run.model, *cells))
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    right = {4, 6, 7, 8}
    notes = [f"note: {run.fault}" for run in runs if run.fault]
    rows = [
        "  ".join(
            cell.rjust(width) if k in right else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*rows, *notes])


def _age(seconds: float) -> str:
    _, by, unit = next(age for age in _AGES if seconds >= age[0] or not age[0])
    return f"{max(0.0, seconds) / by:.0f} {unit}"
