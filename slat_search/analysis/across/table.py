"""One table over runs: each method on each task, their averages, ranks and tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..fronts import hypervolumes, knee, nondominated, on_plane, smallest_near_best
from ..robustness import paired_difference
from ..statistics import critical_difference, friedman, holm, mean_interval, ranks, sign_flip_test
from .compared import Compared

AVERAGE = "average"
_RANKED_TASKS = 5  # from so many on, mean ranks have a critical difference
_MEANS = ["quality", "validation", "params", "bytes", "params_percent", "retained", "train_seconds", "memory"]


def all_rows(runs: Sequence[Compared]) -> pd.DataFrame:
    """Every row of every run, those without a name too."""
    return pd.concat([run.results for run in runs], ignore_index=True)


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
    table["mark"] = [
        "best" if name == best else "level" if _level(runs, best, name) else "" for name in table["method"]
    ]
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


def _level(runs: Sequence[Compared], best: str, other: str) -> bool:
    """Whether the difference of two methods on one task may be chance, by its 95 % interval.

    From predictions where both runs still have them (paired by text, seeds drawn); else from the number of test texts,
    as for unpaired accuracies; for other metrics from the paired seeds.
    """
    one, two = (_rows_of(runs, name) for name in (best, other))
    methods = [part["method"].iloc[0] for _, part in (one, two)]
    if all(method in run.predictions for (run, _), method in zip((one, two), methods, strict=True)):
        said = [run.predictions[method] for (run, _), method in zip((one, two), methods, strict=True)]
        low, high = paired_difference(said[0], said[1], one[0].metric)
        return low <= 0 <= high
    means = [part["quality"].mean() for _, part in (one, two)]
    if one[0].metric == "accuracy":
        return bool(means[0] - means[1] <= 1.96 * np.sqrt(sum(q * (1 - q) for q in means) / one[0].texts))
    seeds = [part.set_index("seed")["quality"] for _, part in (one, two)]
    low, high = mean_interval((seeds[0] - seeds[1]).dropna().to_numpy())
    return bool(np.isnan(low) or low <= 0 <= high)


def _rows_of(runs: Sequence[Compared], method: str) -> tuple[Compared, pd.DataFrame]:
    """The run that has a method, and its rows."""
    parts = ((run, run.results[run.results["as"] == method]) for run in runs)
    return next((run, part) for run, part in parts if len(part))


def reference_method(table: pd.DataFrame) -> str | None:
    """The baseline that is best on validation over all tasks; full fine-tuning is the ceiling, and not it."""
    rows = table[(table["family"] == "baseline") & ~table["ceiling"]]
    tasks = table["dataset"].nunique()
    rows = rows[rows["dataset"] == AVERAGE] if tasks > 1 else rows
    return None if rows.empty else str(rows.sort_values("validation", ascending=False).iloc[0]["method"])


def tests(runs: Sequence[Compared], reference: str) -> pd.DataFrame:
    """Every other method minus ``reference`` in quality, over pairs of task and seed; Holm's correction over rows."""
    rows = all_rows(runs)
    wide = rows[rows["as"] != ""].pivot_table(index=["dataset", "seed"], columns="as", values="quality", sort=False)
    found: list[dict[str, Any]] = []
    for method in wide.columns.drop(reference):
        difference = (wide[method] - wide[reference]).dropna().to_numpy()
        if not len(difference):
            continue
        low, high = mean_interval(difference)
        found.append(
            {
                "method": method,
                "minus": reference,
                "pairs": len(difference),
                "difference": difference.mean(),
                "low": low,
                "high": high,
                "p": sign_flip_test(difference),
            }
        )
    table = pd.DataFrame(found)
    if not table.empty:
        table["p_holm"] = holm(table["p"].to_numpy())
    return table


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
    """Of found structures, baselines and all together on each task, whatever run they come from."""
    out: dict[str, Any] = {}
    for name in _datasets(runs):
        mine = [run for run in runs if run.dataset == name]
        rows = all_rows(mine).drop_duplicates(["run", "method", "seed"])
        out[name] = hypervolumes(rows.assign(method=rows["run"] + "/" + rows["method"]), mine[0].reference)
    return out
