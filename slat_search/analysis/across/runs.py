"""The runs that are compared: their rows under names that stand for the same method in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
        name: of its configuration.
        metric: of the task.
        texts: number of test texts.
        reference: of hypervolumes.
        results: rows of ``results.csv`` with ``run``, ``dataset`` and ``as``, the name of the method over runs; a row
            whose name is empty stands in no table of methods.
        predictions: by method, where the run folder still has them.
    """

    name: str
    metric: str
    texts: int
    reference: Reference
    results: pd.DataFrame
    predictions: dict[str, list[Predictions]] = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """Task, and model where there are several: what makes qualities comparable."""
        return self.results["dataset"].iloc[0]


def read_runs(folders: Sequence[Path]) -> list[Compared]:
    """Read finished runs, or what is kept of them: configuration, environment and ``results.csv``.

    Where two runs are of one task and model, methods are named with their run.

    Raises:
        SlatError: a folder holds no such thing, or is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    twice = next((folder for folder in resolved if resolved.count(folder) > 1), None)
    if twice is not None:
        raise SlatError(f"{twice}: given twice")
    runs = [_read(RunFolder(folder)) for folder in resolved]
    if all(_same(run.results, RECOMMENDED, BEST) for run in runs):
        for run in runs:
            run.results.drop(run.results.index[run.results["as"] == BEST], inplace=True)
    several = len({model for run in runs for model in run.results["model"]}) > 1
    for run in runs:
        rows = run.results
        rows["dataset"] = rows["task"] + (" (" + rows["model"] + ")" if several else "")
    datasets = [run.dataset for run in runs]
    named: list[str] = []
    for run in runs:
        if datasets.count(run.dataset) > 1:
            name = run.name if run.name not in named else f"{run.name} {1 + len(named)}"
            run.results["as"] = [f"{group} [{name}]" if group else "" for group in run.results["as"]]
        named.append(run.name)
    return runs


def _same(results: pd.DataFrame, one: str, two: str) -> bool:
    """Whether two names stand for the same structure of a run."""
    return set(results["method"][results["as"] == one]) == set(results["method"][results["as"] == two])


def _read(run: RunFolder) -> Compared:
    for name in ("results.csv", "environment.json", "config.yaml"):
        if not (run / name).is_file():
            raise SlatError(f"{run.root}: no finished run there ({name} is missing)")
    config: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    environment = read_json(run / "environment.json")
    results = pd.read_csv(run / "results.csv", keep_default_na=False, na_values=[""])
    if missing := _NEEDED - set(results):
        raise SlatError(f"{run.root}: results.csv has no column {min(missing)}; it was made by another version")
    results = results.assign(run=config["name"])
    results["as"] = _names(results, config["search"]["tolerance"])
    return Compared(
        name=config["name"],
        metric=config["task"]["metric"],
        texts=environment["task"]["test"],
        reference=Reference(environment["task"]["majority"], environment["model"]["params"]),
        results=_with_best(results),
        predictions=read_run(run).predictions if (run / "units").is_dir() else {},
    )


def _names(results: pd.DataFrame, tolerance: float) -> list[str]:
    """Of each row: the recommended structure, a baseline, or nothing for another structure and for sizes of others."""
    chosen = recommended(compare(results), tolerance)
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
