"""The runs that are compared: their rows under names that stand for the same method in each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ...errors import SlatError
from ...run_folder import RunFolder, read_json
from ..fronts import Reference
from ..robustness import Predictions
from ..tables import compare, read_run, recommended

RECOMMENDED, BEST = "SLAT, recommended", "SLAT, best"
_NEEDED = {"task", "model", "method", "group", "budget", "family", "seed", "quality", "validation", "params", "memory"}


@dataclass(frozen=True)
class Compared:
    """One run.

    Attributes:
        name: of its configuration, with a number where others have it too.
        config: the resolved configuration.
        metric: of the task.
        texts: number of test texts.
        reference: of hypervolumes.
        results: rows of ``results.csv`` with ``run``, ``dataset`` and ``as``, the name of the method over runs; a row
            whose name is empty stands in no table of methods.
        predictions: by method, where the run folder still has them.
        structure: JSON of the recommended structure, where it is kept.
    """

    name: str
    config: dict[str, Any]
    metric: str
    texts: int
    reference: Reference
    results: pd.DataFrame
    predictions: dict[str, list[Predictions]] = field(default_factory=dict)
    structure: dict[str, Any] | None = None

    @property
    def dataset(self) -> str:
        """Task, and model where there are several: what makes qualities comparable."""
        return str(self.results["dataset"].iloc[0])

    @property
    def same_texts(self) -> str:
        """Equal where two runs of one task test the same texts."""
        return json.dumps([self.config["task"], self.config["seed"], self.texts], sort_keys=True, default=str)


def read_runs(folders: Sequence[Path]) -> list[Compared]:
    """Read finished runs, or what is kept of them: configuration, environment and ``results.csv``.

    Where two runs are of one task and model, methods are named with their run; where they test other texts of it, they
    count as different tasks.

    Raises:
        SlatError: a folder holds no such thing, or is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    twice = next((folder for folder in resolved if resolved.count(folder) > 1), None)
    if twice is not None:
        raise SlatError(f"{twice}: given twice")
    runs: list[Compared] = []
    for folder in resolved:
        run = _read(RunFolder(folder))
        before = sum(other.config["name"] == run.config["name"] for other in runs)
        runs.append(replace(run, name=f"{run.name} {before + 1}") if before else run)
    if all(_same(run.results, RECOMMENDED, BEST) for run in runs):
        for run in runs:
            run.results.drop(run.results.index[run.results["as"] == BEST], inplace=True)
    for run in runs:
        run.results["run"] = run.name
    _name_datasets(runs)
    datasets = [run.dataset for run in runs]
    for run in runs:
        if datasets.count(run.dataset) > 1:
            run.results["as"] = [f"{group} [{run.name}]" if group else "" for group in run.results["as"]]
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


def _same(results: pd.DataFrame, one: str, two: str) -> bool:
    """Whether two names stand for the same structure of a run."""
    return set(results["method"][results["as"] == one]) == set(results["method"][results["as"] == two])


def _read(run: RunFolder) -> Compared:
    for name in ("results.csv", "environment.json", "config.yaml"):
        if not (run / name).is_file():
            raise SlatError(f"{run.root}: no finished run there ({name} is missing)")
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    if config.get("tasks"):
        raise SlatError(f"{run.root}: a run over several tasks, which has a table of its own; compare runs of one task")
    environment = read_json(run / "environment.json")
    results = pd.read_csv(run / "results.csv", keep_default_na=False, na_values=[""])
    if missing := _NEEDED - set(results):
        raise SlatError(f"{run.root}: results.csv has no column {min(missing)}; it was made by another version")
    chosen = recommended(compare(results), config["search"]["tolerance"])
    results["as"] = _names(results, chosen)
    structure = run / "structures" / f"{chosen['method']}.json"
    return Compared(
        name=config["name"],
        config=config,
        metric=config["task"]["metric"],
        texts=environment["task"]["test"],
        reference=Reference(environment["task"]["majority"], environment["model"]["params"]),
        results=_with_best(results),
        predictions=read_run(run).predictions if (run / "units").is_dir() else {},
        structure=read_json(structure) if structure.is_file() else None,
    )


def _names(results: pd.DataFrame, chosen: pd.Series) -> list[str]:
    """Of each row: the recommended structure, a baseline, or nothing for another structure and for sizes of others."""
    sizes = pd.to_numeric(results["budget"])
    names = []
    for row, size in zip(results.to_dict("records"), sizes, strict=True):
        if row["family"] == "slat":
            names.append(RECOMMENDED if row["method"] == chosen["method"] else "")
        else:
            names.append(row["group"] if pd.isna(size) or size == chosen["params"] else "")
    return names


def _with_best(results: pd.DataFrame) -> pd.DataFrame:
    """With the rows of the found structure that is best on validation once more, under its name."""
    found = compare(results[results["family"] == "slat"])
    best = found.sort_values(["validation", "params"], ascending=[False, True]).iloc[0]["method"]
    return pd.concat([results, results[results["method"] == best].assign(**{"as": BEST})], ignore_index=True)
