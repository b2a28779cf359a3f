"""One table over runs: each method on each task, their averages, ranks and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..fronts import knee, nondominated, on_plane, smallest_near_best
from ..hypervolume import Reference, hypervolumes
from ..statistics import (
    critical_difference,
    friedman,
    mean_interval,
    ranks,
)
from .compared import Compared, all_rows
from .tested import level

AVERAGE = "average"
_RANKED_TASKS = 5  # from so many on, mean ranks have a critical difference
_MEANS = ["quality", "validation", "params", "bytes", "params_percent", "retained", "train_seconds", "memory"]


def comparison(runs: Sequence[Compared]) -> pd.DataFrame:
    """One row a task and method, and one a method for the average over tasks, which only methods of all tasks have; no
    method may be one.

    ``low`` and ``high`` bound the mean quality over seeds; ``mark`` is ``best`` or, where the paired difference to the
    best may be chance, ``level``.
    """
    parts = [_of_dataset([run for run in runs if run.dataset == name]) for name in _datasets(runs)]
    if len(parts) == 1:
        return parts[0]
    table = pd.concat(parts, ignore_index=True)
    whole = table.groupby("method", sort=False).filter(lambda rows: len(rows) == len(parts))
    if whole.empty:
        return table
    mean = whole.groupby("method", sort=False).agg(
        {"family": "first", "ceiling": "first", "seeds": "min", **dict.fromkeys([*_MEANS, "rank"], "mean")}
    )
    mean = mean.reset_index().assign(dataset=AVERAGE, tasks=len(parts))
    mean["compression"] = _compression(mean["params_percent"])
    grouped = ranks(whole.pivot_table(index="dataset", columns="method", values="quality", sort=False).to_numpy())
    order = whole["method"].unique()
    mean["rank"] = mean["method"].map(dict(zip(order, grouped.mean(axis=0), strict=True)))
    return pd.concat([table, _with_fronts(mean)], ignore_index=True)


def _datasets(runs: Sequence[Compared]) -> list[str]:
    return list(dict.fromkeys(run.dataset for run in runs))


def _compression(percent: pd.Series) -> pd.Series:
    return (100 / percent).where(percent > 0, np.inf)


def _of_dataset(runs: Sequence[Compared]) -> pd.DataFrame:
    rows = all_rows(runs)
    grouped = rows[rows["as"] != ""].groupby("as", sort=False)
    means = grouped[_MEANS].mean()
    table = means.assign(
        quality_sd=grouped["quality"].std(),
        seeds=grouped["seed"].count(),
        family=grouped["family"].first(),
        ceiling=grouped["ceiling"].first(),
    )
    bounds = [mean_interval(part["quality"].to_numpy()) for _, part in grouped]
    table["low"], table["high"] = zip(*bounds, strict=True)
    table = table.reset_index(names="method").assign(dataset=runs[0].dataset)
    table["compression"] = _compression(table["params_percent"])
    table["rank"] = ranks(table[["quality"]].to_numpy().T)[0]
    best = str(table["method"].iloc[int(table["quality"].argmax())])
    table["mark"] = ["best" if name == best else "level" if level(runs, best, name) else "" for name in table["method"]]
    return _with_fronts(table)


def _with_fronts(table: pd.DataFrame) -> pd.DataFrame:
    """On the front in three and in two objectives, the knee, the smallest within 1 % of the best; of one task."""
    bent, near = knee(table), smallest_near_best(table)
    places = range(len(table))
    return table.assign(
        on_front=nondominated(table),
        on_plane=on_plane(table),
        knee=[place == bent for place in places],
        smallest_near_best=[place == near for place in places],
    )


def reference_method(table: pd.DataFrame) -> str | None:
    """The baseline that is best on validation over all tasks; full fine-tuning is the ceiling, and not it."""
    rows = table[(table["family"] == "baseline") & ~table["ceiling"]]
    tasks = table["dataset"].nunique()
    rows = rows[rows["dataset"] == AVERAGE] if tasks > 1 else rows
    return None if rows.empty else str(rows.sort_values("validation", ascending=False).iloc[0]["method"])


def rank_summary(table: pd.DataFrame) -> dict[str, Any]:
    """Mean ranks of the methods of all tasks, Friedman's p and, from five tasks on, the critical difference."""
    whole = table[(table["dataset"] == AVERAGE)]
    if whole.empty:
        return {}
    per_task = table[(table["dataset"] != AVERAGE) & table["method"].isin(whole["method"])]
    qualities = per_task.pivot_table(index="dataset", columns="method", values="quality", sort=False).to_numpy()
    tasks, methods = qualities.shape
    enough = tasks >= 3 and methods >= 3
    return {
        "tasks": tasks,
        "methods": methods,
        "mean_ranks": dict(zip(whole["method"], whole["rank"], strict=True)),
        "friedman_p": friedman(qualities) if enough else None,
        "critical_difference": critical_difference(methods, tasks) if enough and tasks >= _RANKED_TASKS else None,
    }


def hypervolumes_by_task(runs: Sequence[Compared]) -> dict[str, Any]:
    """Return the hypervolumes of found structures, baselines and all on each task, whatever run they come from."""
    out: dict[str, Any] = {}
    for name in _datasets(runs):
        mine = [run for run in runs if run.dataset == name]
        rows = all_rows(mine).drop_duplicates(["run", "method", "seed"])
        reference = Reference.of(rows, mine[0].majority, mine[0].backbone)
        out[name] = hypervolumes(rows.assign(method=rows["run"] + "/" + rows["method"]), reference)
    return out
