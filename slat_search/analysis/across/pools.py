"""A run over several tasks in a comparison: each of its tasks stands beside that task of other runs."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...errors import SlatError
from ...run_folder import RunFolder, read_json
from ..choice import recommended
from ..fronts import Reference
from ..pool.data import ALONE, POOLED, predictions
from ..pool.table import comparison, found_pools
from ..shared import part_of
from .compared import BEST, RECOMMENDED, SHARED, Compared, made_for, with_best

APART = ", each task alone"
_NEEDED = {"task", "method", "name", "how", "family", "seed", "quality", "validation", "params", "own", "memory"}


def tasks_of(
    run: RunFolder, config: dict[str, Any], environment: dict[str, Any], results: pd.DataFrame
) -> list[Compared]:
    """One a task. What all tasks train together counts in equal parts for each: its parameters and its seconds.

    Raises:
        SlatError: the run was made by another version.
    """
    if missing := _NEEDED - set(results):
        raise SlatError(f"{run.root}: results.csv has no column {min(missing)}; it was made by another version")
    listed = read_json(run / "selection.json")["finals"]
    if any("group" not in final for final in listed):
        raise SlatError(f"{run.root}: the run was made by an earlier version, which kept less; run it again")
    finals = {final["label"]: final for final in listed}
    pools = comparison(results)
    found = found_pools(pools)
    chosen = recommended(found, config["search"]["tolerance"])
    budgets = results["method"].map(lambda label: finals.get(label, {}).get("budget"))
    beside = made_for(budgets, 0 if chosen is None else chosen["params"])
    best = "" if chosen is None else str(chosen["method"])
    names = [_name(row, best, finals) for row in results.to_dict("records")]
    rows = _in_parts(results, environment["model"], len(config["tasks"]))
    rows["as"] = [name if fits else "" for name, fits in zip(names, beside, strict=True)]
    rows = with_best(rows, found, BEST + SHARED)
    said = predictions(run) if (run / "units").is_dir() else {}
    path = run / "structures" / f"{best}.json"
    structure = read_json(path) if path.is_file() else None
    return [
        Compared(
            name=config["name"],
            config={**config, "task": task},
            metric=task["metric"],
            texts=told["test"],
            reference=Reference(told["majority"], environment["model"]["params"]),
            results=rows[rows["task"] == task["name"]].reset_index(drop=True),
            predictions=said.get(task["name"], {}),
            structure=None if structure is None else part_of(structure, number),
            tasks=len(config["tasks"]),
            digest=told.get("digests", {}).get("test", ""),
        )
        for number, (task, told) in enumerate(zip(config["tasks"], environment["tasks"], strict=True))
    ]


def _name(row: dict[Any, Any], chosen: str, finals: dict[str, dict[str, Any]]) -> str:
    """Of the recommended pool, of what was found in its place for each task alone, or of a baseline; else nothing."""
    label = row["method"]
    if row["family"] != "slat":
        return row["name"] if row["how"] == ALONE else finals[label]["group"] + SHARED
    if row["how"] == POOLED:
        return RECOMMENDED + SHARED if label == chosen else ""
    _, form, digest = label.split("-")  # alone-slat-DIGEST, alone-search-DIGEST
    if not chosen or digest != chosen.split("-")[1]:
        return ""
    return f"SLAT{', own weights' if form == 'search' else ''}{APART}"


def _in_parts(results: pd.DataFrame, model: dict[str, Any], tasks: int) -> pd.DataFrame:
    """Rows as those of a run of one task have them."""
    pooled = results["how"] == POOLED
    params = (results["params"] / tasks).where(pooled, results["own"])
    return results.assign(
        model=model["name"],
        params=params,
        bytes=(results["bytes"] / tasks).where(pooled),  # of tasks apart only their sum is kept
        params_percent=100 * params / model["params"],
        ceiling=results["own"] >= model["params"],
        train_seconds=(results["train_seconds"] / tasks).where(pooled, results["train_seconds"]),
    )
