"""The runs that are compared: their rows under names that stand for the same method in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ...errors import SlatError
from ...run_folder import RunFolder, read_json
from ..fronts import Reference
from ..tables import compare, read_run, recommended
from .compared import BEST, RECOMMENDED, Compared, made_for
from .pools import tasks_of

_NEEDED = {"task", "model", "method", "group", "budget", "family", "seed", "quality", "validation", "params", "memory"}


def read_runs(folders: Sequence[Path]) -> list[Compared]:
    """Read finished runs, or what is kept of them: configuration, environment and ``results.csv``.

    Where two runs of one task and model have a method in common, it is named with its run; where they test other texts
    of it, they count as different tasks.

    Returns:
        One a task of each run.

    Raises:
        SlatError: a folder holds no such thing, or is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    twice = next((folder for folder in resolved if resolved.count(folder) > 1), None)
    if twice is not None:
        raise SlatError(f"{twice}: given twice")
    runs: list[Compared] = []
    names: list[str] = []
    for folder in resolved:
        parts = _read(RunFolder(folder))
        name = parts[0].config["name"]
        names.append(name)
        numbered = f"{name} {names.count(name)}" if names.count(name) > 1 else name
        runs += [replace(part, name=numbered) for part in parts]
    if all(_same_structure(run.results) for run in runs):
        runs = [replace(run, results=run.results[~run.results["as"].str.startswith(BEST)].copy()) for run in runs]
    for run in runs:
        run.results["run"] = run.name
    _name_datasets(runs)
    _name_methods(runs)
    return runs


def _name_datasets(runs: Sequence[Compared]) -> None:
    """By task, by model where there are several, and by run where a task was not cut into the same texts."""
    several = len({run.config["model"]["name"] for run in runs}) > 1
    for run in runs:
        rows = run.results
        rows["dataset"] = rows["task"] + (" (" + rows["model"] + ")" if several else "")
    texts: dict[str, set[str]] = {}
    for run in runs:
        texts.setdefault(run.dataset, set()).add(run.same_texts)
    for run in [run for run in runs if len(texts[run.dataset]) > 1]:
        run.results["dataset"] += f" [{run.name}]"


def _name_methods(runs: Sequence[Compared]) -> None:
    """With the run where several of one dataset have it."""
    having: dict[tuple[str, str], int] = {}
    for run in runs:
        for name in set(run.results["as"]) - {""}:
            having[run.dataset, name] = having.get((run.dataset, name), 0) + 1
    for run in runs:
        several = {name for (dataset, name), count in having.items() if dataset == run.dataset and count > 1}
        run.results["as"] = [f"{name} [{run.name}]" if name in several else name for name in run.results["as"]]


def _same_structure(results: pd.DataFrame) -> bool:
    """Whether the recommended structure of a run is also its best."""
    one, two = (set(results["method"][results["as"].str.startswith(name)]) for name in (RECOMMENDED, BEST))
    return one == two


def _read(run: RunFolder) -> list[Compared]:
    for name in ("results.csv", "environment.json", "config.yaml"):
        if not (run / name).is_file():
            raise SlatError(f"{run.root}: no finished run there ({name} is missing)")
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    environment = read_json(run / "environment.json")
    results = pd.read_csv(run / "results.csv", keep_default_na=False, na_values=[""])
    if config.get("tasks"):
        return tasks_of(run, config, environment, results)
    if missing := _NEEDED - set(results):
        raise SlatError(f"{run.root}: results.csv has no column {min(missing)}; it was made by another version")
    chosen = recommended(compare(results), config["search"]["tolerance"])
    results["as"] = _names(results, chosen)
    results["ceiling"] = results["params_percent"] >= 100
    structure = run / "structures" / f"{chosen['method']}.json"
    found = Compared(
        name=config["name"],
        config=config,
        metric=config["task"]["metric"],
        texts=environment["task"]["test"],
        reference=Reference(environment["task"]["majority"], environment["model"]["params"]),
        results=_with_best(results),
        predictions=read_run(run).predictions if (run / "units").is_dir() else {},
        structure=read_json(structure) if structure.is_file() else None,
    )
    return [found]


def _names(results: pd.DataFrame, chosen: pd.Series) -> list[str]:
    """Of each row: the recommended structure, a baseline, or nothing for another structure and for sizes of others."""
    beside = made_for(results["budget"], chosen["params"])
    names = []
    for row, fits in zip(results.to_dict("records"), beside, strict=True):
        if row["family"] == "slat":
            names.append(RECOMMENDED if row["method"] == chosen["method"] else "")
        else:
            names.append(row["group"] if fits else "")
    return names


def _with_best(results: pd.DataFrame) -> pd.DataFrame:
    """With the rows of the found structure that is best on validation once more, under its name."""
    found = compare(results[results["family"] == "slat"])
    best = found.sort_values(["validation", "params"], ascending=[False, True]).iloc[0]["method"]
    return pd.concat([results, results[results["method"] == best].assign(**{"as": BEST})], ignore_index=True)
