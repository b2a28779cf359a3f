"""The runs that are compared: their rows under names that stand for the same method in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ...errors import SlatError
from ...run_folder import RunFolder, read_json, without_results
from ..choice import recommended
from ..fronts import Reference
from ..tables import compare, found_ones, read_run
from .compared import BEST, RECOMMENDED, Compared, made_for, with_best
from .pools import tasks_of

_NEEDED = {"task", "model", "method", "group", "budget", "family", "seed", "quality", "validation", "params", "memory"}


def read_runs(given: Sequence[str | Path]) -> list[Compared]:
    """Read finished runs, or what is kept of them: configuration, environment and ``results.csv``.

    Where two runs of one task and model have a method in common, it is named with its run, or with its label; where
    they test other texts of it, they count as different tasks.

    Args:
        given: folders, or ``LABEL=FOLDER``.

    Returns:
        One a task of each run.

    Raises:
        SlatError: a folder holds no such thing, or is given twice; or a label, for runs of one task.
    """
    labelled = [_labelled(run) for run in given]
    resolved = [folder for folder, _ in labelled]
    twice = next((folder for folder in resolved if resolved.count(folder) > 1), None)
    if twice is not None:
        raise SlatError(f"{twice}: given twice")
    runs: list[Compared] = []
    names: list[str] = []
    for folder, label in labelled:
        parts = _read(RunFolder(folder))
        name = parts[0].config["name"]
        names.append(name)
        numbered = f"{name} {names.count(name)}" if names.count(name) > 1 else name
        runs += [replace(part, name=numbered, label=label) for part in parts]
    if all(_same_structure(run.results) for run in runs):
        runs = [replace(run, results=run.results[~run.results["as"].str.startswith(BEST)].copy()) for run in runs]
    for run in runs:
        run.results["run"] = run.name
    _name_datasets(runs)
    _name_methods(runs)
    return runs


def _labelled(given: str | Path) -> tuple[Path, str]:
    """Folder and label of what was given; a folder may have = in its name."""
    label, mark, folder = str(given).partition("=")
    if mark and label and not Path(given).is_dir():
        return Path(folder).resolve(), label
    return Path(given).resolve(), ""


def _name_datasets(runs: Sequence[Compared]) -> None:
    """By task, by model where there are several, and by run where a task was not cut into the same texts."""
    several = len({run.config["model"]["name"] for run in runs}) > 1
    for run in runs:
        rows = run.results
        rows["dataset"] = rows["task"] + (" (" + rows["model"] + ")" if several else "")
    texts: dict[str, set[str]] = {}
    digested = {name: all(run.digest for run in runs if run.dataset == name) for name in {run.dataset for run in runs}}
    for run in runs:
        texts.setdefault(run.dataset, set()).add(run.digest if digested[run.dataset] else run.same_texts)
    for run in [run for run in runs if len(texts[run.dataset]) > 1]:
        run.results["dataset"] += f" [{run.name}]"


def _name_methods(runs: Sequence[Compared]) -> None:
    """With the run where several of one dataset have it; with the label, where there is one, on every dataset then."""
    having = Counter((run.dataset, name) for run in runs for name in set(run.results["as"]) - {""})
    several = {name for (_, name), count in having.items() if count > 1}
    labels = Counter((run.dataset, run.label) for run in runs if run.label)
    for (dataset, label), count in labels.items():
        if count > 1:
            raise SlatError(f"{label}: a label for one run of {dataset}, given to {count}")
    for run in runs:
        apart = several if run.label else {name for name in several if having[run.dataset, name] > 1}
        ending = f" [{run.label or run.name}]"
        run.results["as"] = [name + ending if name in apart else name for name in run.results["as"]]


def _same_structure(results: pd.DataFrame) -> bool:
    """Whether the recommended structure of a run is also its best."""
    one, two = (set(results["method"][results["as"].str.startswith(name)]) for name in (RECOMMENDED, BEST))
    return one == two


def _read(run: RunFolder) -> list[Compared]:
    for name in ("results.csv", "environment.json", "config.yaml"):
        if not (run / name).is_file():
            raise SlatError(f"{without_results(run)} ({name} is missing)")
    if (run / "points.json").is_file():
        raise SlatError(without_results(run))
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    environment = read_json(run / "environment.json")
    results = pd.read_csv(run / "results.csv", keep_default_na=False, na_values=[""])
    if "bytes" not in results:  # of an earlier version
        results["bytes"] = np.nan
    if config.get("tasks"):
        return tasks_of(run, config, environment, results)
    if missing := _NEEDED - set(results):
        raise SlatError(f"{run.root}: results.csv has no column {min(missing)}; it was made by another version")
    found = compare(found_ones(results))
    chosen = recommended(found, config["search"]["tolerance"])
    results["as"] = _names(results, chosen)
    results["ceiling"] = results["params_percent"] >= 100
    structure = run / "structures" / f"{'' if chosen is None else chosen['method']}.json"
    compared = Compared(
        name=config["name"],
        config=config,
        metric=config["task"]["metric"],
        texts=environment["task"]["test"],
        reference=Reference(environment["task"]["majority"], environment["model"]["params"]),
        results=with_best(results, found, BEST),
        predictions=read_run(run).predictions if (run / "units").is_dir() else {},
        structure=read_json(structure) if structure.is_file() else None,
        digest=environment["task"].get("digests", {}).get("test", ""),
    )
    return [compared]


def _names(results: pd.DataFrame, chosen: pd.Series | None) -> list[str]:
    """Of each row: the recommended structure, a baseline, or nothing for another structure and for sizes of others."""
    beside = made_for(results["budget"], 0 if chosen is None else chosen["params"])
    names = []
    for row, fits in zip(results.to_dict("records"), beside, strict=True):
        if row["family"] == "slat":
            names.append(RECOMMENDED if chosen is not None and row["method"] == chosen["method"] else "")
        else:
            names.append(row["group"] if fits else "")
    return names
