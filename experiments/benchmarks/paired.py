"""What a comparison at equal budgets comes to: paired differences with intervals, and a figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

from slat_search.analysis.statistics import mean_interval

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def paired(rows: pd.DataFrame, method: str, rival: str) -> pd.DataFrame:
    """Mean over tasks and seeds of ``method`` minus ``rival`` at each budget, with a 95 % bootstrap interval.

    A pair is a task and a seed; a method with several draws of one seed counts with their mean.

    Args:
        rows: ``budget``, ``task``, ``seed``, ``method`` and ``test`` (quality).
    """
    table = rows.groupby(["budget", "task", "seed", "method"])["test"].mean().unstack()
    out = []
    if {method, rival} <= set(table.columns):
        for budget, part in table.groupby(level="budget"):
            difference = (part[method] - part[rival]).dropna().to_numpy()
            if len(difference):
                low, high = mean_interval(difference)
                row = {"method": method, "rival": rival, "budget": budget, "pairs": len(difference)}
                out.append({**row, "difference": difference.mean(), "low": low, "high": high})
    return pd.DataFrame(out)


def plot(rows: pd.DataFrame, path: Path) -> None:
    """Test quality over budget, a panel a task and one for their mean; bars are the standard error over seeds."""
    tasks = sorted(rows["task"].unique())
    rows = rows.groupby(["task", "method", "budget", "seed"], sort=False, as_index=False)["test"].mean()
    means = rows.groupby(["method", "budget", "seed"], sort=False, as_index=False)["test"].mean()
    figure, axes = plt.subplots(1, len(tasks) + 1, figsize=(3.6 * (len(tasks) + 1), 4.2), squeeze=False)
    for axis, task in zip(axes[0], ["mean", *tasks], strict=True):
        shown = means if task == "mean" else rows[rows["task"] == task]
        for number, method in enumerate(rows["method"].unique()):
            by_budget = shown.loc[shown["method"] == method].groupby("budget")["test"]
            mean = by_budget.mean()
            if mean.empty:
                continue
            style = {"color": f"C{number}", "marker": "o", "capsize": 3, "lw": 2.2 if method == "SLAT" else 1.2}
            axis.errorbar(mean.index, mean, yerr=by_budget.sem(), label=method, **style)
        axis.set_xscale("log")
        axis.set_title(task)
        axis.set_xlabel("adapter parameters (budget)")
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel("test quality")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2 * (len(tasks) + 1), frameon=False)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(path, dpi=140)
