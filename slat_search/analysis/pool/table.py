"""Methods over several tasks: each task, their mean, the worst, and what all of them cost together."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..fronts import nondominated
from ..tables import stored
from .data import POOLED, PoolData

MEAN, WORST = "average", "worst"


def comparison(results: pd.DataFrame) -> pd.DataFrame:
    """One row a method: a column a task with its mean quality over seeds, and of each seed's mean and worst task mean
    and standard deviation over seeds; parameters of all tasks together; found ones first, then by parameters.

    Only seeds that trained on every task count.
    """
    tasks = list(results["task"].unique())
    if "bytes" not in results:  # of an earlier version
        results = results.assign(bytes=np.nan)
    rows = []
    for method, part in results.groupby("method", sort=False):
        by_seed = part.pivot_table(index="seed", columns="task", values="quality").reindex(columns=tasks).dropna()
        if by_seed.empty:
            continue
        validation = part.pivot_table(index="seed", columns="task", values="validation").mean(axis=1)
        means, worst = by_seed.mean(axis=1), by_seed.min(axis=1)
        own = part.groupby("task")["own"].mean()
        rows.append(
            {
                "method": method,
                "name": part["name"].iloc[0],
                "family": part["family"].iloc[0],
                "how": part["how"].iloc[0],
                **{task: float(by_seed[task].mean()) for task in tasks},
                **{f"own: {task}": int(own[task]) for task in tasks},
                MEAN: float(means.mean()),
                "average_sd": float(means.std()) if len(means) > 1 else np.nan,
                WORST: float(worst.mean()),
                "validation": float(validation.mean()),
                "retained": float(part["retained"].mean()),
                "params": round(part.groupby("seed")["params"].first().mean()),
                "bytes": part.groupby("seed")["bytes"].first().mean(),
                "train_seconds": float(part.groupby("seed")["train_seconds"].agg(_of_all(part)).mean()),
                "seeds": len(by_seed),
            }
        )
    table = pd.DataFrame(rows)
    table["on_front"] = nondominated(table.assign(quality=table[MEAN]))
    return table.sort_values(["family", "params"], key=_found_first, kind="stable").reset_index(drop=True)


def _of_all(part: pd.DataFrame) -> str:
    """Rows of a pool all tell the same training; those of tasks alone add up."""
    return "sum" if part["how"].iloc[0] == "each alone" else "first"


def _found_first(column: pd.Series) -> pd.Series:
    return column != "slat" if column.name == "family" else column


def found_pools(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of pools that a search found."""
    return table[(table["family"] == "slat") & (table["how"] == POOLED)]


def usable(table: pd.DataFrame, data: PoolData) -> pd.DataFrame:
    """Rows of methods that leave an adapter for each task: all but full fine-tuning, which is as large as the model."""
    return table[table[[f"own: {task}" for task in data.tasks]].max(axis=1) < data.environment["model"]["params"]]


def display(table: pd.DataFrame, data: PoolData) -> pd.DataFrame:
    """The comparison as people read it."""
    backbone = data.environment["model"]["params"]
    spread = ["" if np.isnan(sd) else f" ± {sd:.3f}" for sd in table["average_sd"]]
    return pd.DataFrame(
        {
            "method": table["name"],
            **{task: [f"{value:.3f}" for value in table[task]] for task in data.tasks},
            "average": [f"{mean:.3f}{sd}" for mean, sd in zip(table[MEAN], spread, strict=True)],
            "worst": [f"{value:.3f}" for value in table[WORST]],
            "parameters": [f"{value:,}" for value in table["params"]],
            **stored(table),
            "% of backbone": [f"{100 * value / backbone:.3f}" for value in table["params"]],
            "retained": [f"{value:.3f}" for value in table["retained"]],
            "front": ["yes" if on else "" for on in table["on_front"]],
            "seconds": [f"{value:.0f}" for value in table["train_seconds"]],
        }
    )


def difference(results: pd.DataFrame, one: str, two: str) -> pd.DataFrame:
    """Quality of method ``one`` minus that of ``two``, a row a seed and a column a task."""
    first, second = (
        results[results["method"] == method].pivot_table(index="seed", columns="task", values="quality")
        for method in (one, two)
    )
    return (first - second).dropna()
