"""The runs that are compared: their rows under names that stand for the same method in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import SlatError
from ...records import POOLED, Environment, KeptConfig, read_kept_structure
from ...run_folder import RunFolder, without_results
from ..choice import recommended
from ..data import read_results, read_run
from ..shared import part_of
from ..tables import comparison, found_ones
from .compared import (
    BEST,
    RECOMMENDED,
    SHARED,
    Compared,
    matches_budget,
    with_best,
)

APART = ", each task alone"


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
        name = parts[0].config.name
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
    """Split ``LABEL=FOLDER``; a folder name may contain =."""
    label, mark, folder = str(given).partition("=")
    if mark and label and not Path(given).is_dir():
        return Path(folder).resolve(), label
    return Path(given).resolve(), ""


def _name_datasets(runs: Sequence[Compared]) -> None:
    """By task, by model where there are several, and by run where a task was not cut into the same texts."""
    several = len({run.config.model for run in runs}) > 1
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
    """Return one a task. What all tasks train together counts in equal parts for each: its parameters and its
    seconds."""
    for name in ("results.csv", "environment.json", "config.yaml"):
        if not (run / name).is_file():
            raise SlatError(f"{without_results(run)} ({name} is missing)")
    if (run / "points.json").is_file():
        raise SlatError(without_results(run))
    config, environment = KeptConfig.of(run), Environment.read(run / "environment.json")
    results = read_results(run, environment)
    predictions = read_run(run).predictions if (run / "units").is_dir() else {}
    several = len(config.tasks) > 1
    found = found_ones(comparison(results))
    chosen = recommended(found, config.tolerance)
    beside = matches_budget(results["budget"], 0 if chosen is None else chosen["params"])
    best = "" if chosen is None else str(chosen["method"])
    names = [method_name(row, best, several) for row in results.to_dict("records")]
    rows = _in_parts(results, environment.model.params, len(config.tasks))
    rows["as"] = [name if fits else "" for name, fits in zip(names, beside, strict=True)]
    rows = with_best(rows, found, BEST + (SHARED if several else ""))
    path = run / "structures" / f"{best}.json"
    structure = read_kept_structure(path) if path.is_file() else None
    return [
        Compared(
            name=config.name,
            config=config,
            task=task,
            texts=facts.test,
            majority=facts.majority,
            backbone=environment.model.params,
            results=rows[rows["task"] == task.name].reset_index(drop=True),
            predictions=predictions.get(task.name, {}),
            structure=part_of(structure, number) if structure and several else structure,
            tasks=len(config.tasks),
            digest=facts.digests.get("test", ""),
        )
        for number, (task, facts) in enumerate(zip(config.tasks, environment.tasks, strict=True))
    ]


def method_name(row: Mapping[Hashable, Any], chosen: str, several: bool) -> str:
    """Name that stands for the same method in each run: of the recommended structure, of what was found in its place
    for each task alone, or of a baseline; else nothing.

    Args:
        row: of the results.
        chosen: label of the recommended structure.
        several: whether several tasks trained together.
    """
    shared = SHARED if several else ""
    if row["how"] == POOLED:
        if row["family"] != "slat":
            return f"{row['group']}{shared}"
        return RECOMMENDED + shared if row["method"] == chosen else ""
    if row["family"] != "slat":
        return str(row["name"])
    _, form, digest = str(row["method"]).split("-")  # alone-slat-DIGEST, alone-search-DIGEST
    if not chosen or digest != chosen.split("-")[1]:
        return ""
    return f"SLAT{', own weights' if form == 'search' else ''}{APART}"


def _in_parts(results: pd.DataFrame, backbone: int, tasks: int) -> pd.DataFrame:
    """Return rows in which each task has its part of what all tasks train together."""
    pooled = results["how"] == POOLED
    params = (results["params"] / tasks).where(pooled, results["own"])
    return results.assign(
        params=params,
        bytes=(results["bytes"] / tasks).where(pooled),  # of tasks apart only their sum is kept
        params_percent=100 * params / backbone,
        ceiling=results["own"] >= backbone,
        train_seconds=(results["train_seconds"] / tasks).where(pooled, results["train_seconds"]),
    )
