"""The rows that are compared: those of one task of one run, under names that stand for the same method in each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ...records import KeptConfig, KeptTask
from ..robustness import Predictions

RECOMMENDED, BEST = "SLAT, recommended", "SLAT, best"
SHARED = ", shared"  # by tasks that train together


@dataclass(frozen=True)
class Compared:
    """One task of one run.

    Attributes:
        name: of the run's configuration, with a number where others have it too.
        config: what is needed of the run's configuration.
        task: its section on this task.
        texts: number of test texts.
        majority: quality of the most frequent label.
        backbone: parameters of the frozen model.
        results: rows of ``results.csv`` with ``run``, ``dataset`` and ``as``, the name of the method over runs; a row
            whose name is empty stands in no table of methods.
        predictions: by method, where the run folder still has them.
        structure: JSON of the recommended structure, or of what this task uses of it, where it is kept.
        tasks: how many share the run's pool.
        digest: of the test texts, where the run kept it.
        label: what methods are named with in place of the run; may be that of runs of other tasks.
    """

    name: str
    config: KeptConfig
    task: KeptTask
    texts: int
    majority: float
    backbone: int
    results: pd.DataFrame
    predictions: dict[str, list[Predictions]] = field(default_factory=dict)
    structure: dict[str, Any] | None = None
    tasks: int = 1
    digest: str = ""
    label: str = ""

    @property
    def metric(self) -> str:
        return self.task.metric

    @property
    def dataset(self) -> str:
        """Task, and model where there are several: what makes qualities comparable."""
        return str(self.results["dataset"].iloc[0])

    @property
    def same_texts(self) -> str:
        """Equal where two runs of one task test the same texts, as far as their configurations tell."""
        return json.dumps([self.task.model_dump(), self.config.seed, self.texts], sort_keys=True, default=str)


def all_rows(runs: Sequence[Compared]) -> pd.DataFrame:
    """Every row of every run, those without a name too."""
    return pd.concat([run.results for run in runs], ignore_index=True)


def matches_budget(budgets: pd.Series, params: float) -> pd.Series:
    """Which rows stand beside a found structure of ``params``: those that were made for no size, or for its own.

    Seeds that search again hold the size within 1 %, so it is the nearest within 5 %.
    """
    sizes = pd.to_numeric(budgets)
    apart = (sizes - params).abs()
    return sizes.isna() | ((apart == apart.min()) & (apart <= 0.05 * params))


def with_best(rows: pd.DataFrame, found: pd.DataFrame, name: str) -> pd.DataFrame:
    """``rows`` with those of the method that is best on validation, of equals the smallest, once more under ``name``.

    Args:
        found: a row a method.
    """
    if found.empty:
        return rows
    best = found.sort_values(["validation", "params"], ascending=[False, True]).iloc[0]["method"]
    return pd.concat([rows, rows[rows["method"] == best].assign(**{"as": name})], ignore_index=True)
