"""What a comparison at equal budgets comes to: paired differences with intervals, tables and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from slat_search.analysis.statistics import mean_interval
from slat_search.analysis.tables import to_markdown

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def paired(rows: pd.DataFrame, method: str, rival: str, measure: str = "test") -> pd.DataFrame:
    """Mean over tasks and seeds of ``method`` minus ``rival`` at each budget, with a 95 % bootstrap interval.

    A pair is a task and a seed; a method with several draws of one seed counts with their mean.

    Args:
        rows: ``budget``, ``task``, ``seed``, ``method`` and the measure, ``test`` (quality) for one.
    """
    table = rows.groupby(["budget", "task", "seed", "method"])[measure].mean().unstack()
    out = []
    if {method, rival} <= set(table.columns):
        for budget, part in table.groupby(level="budget"):
            difference = (part[method] - part[rival]).dropna().to_numpy()
            if len(difference):
                low, high = mean_interval(difference)
                row = {"method": method, "rival": rival, "budget": budget, "pairs": len(difference)}
                out.append({**row, "difference": difference.mean(), "low": low, "high": high})
    return pd.DataFrame(out)


def qualities(rows: pd.DataFrame, methods: Sequence[str], apart: Sequence[str] = ()) -> str:
    """Mean test quality over seeds (and draws), a line a budget and task, as Markdown; the best in bold.

    Args:
        rows: ``budget``, ``task``, ``seed``, ``method``, ``test``, and ``kinds``, those that the search chose from.
        methods: columns, in this order.
        apart: columns after these that are not compared with them, as they had more steps.
    """
    means = rows.groupby(["budget", "task", "method"], sort=False)["test"].mean().unstack()
    kinds = rows[rows["method"] == "SLAT"].groupby(["budget", "task"])["kinds"].agg(lambda found: found.iloc[0])
    lines = []
    for (budget, task), line in means.sort_index(level="budget", sort_remaining=False).iterrows():
        compared = line.reindex(methods).round(3)
        shown = {method: _bold(value, value == compared.max()) for method, value in compared.items()}
        shown |= {method: _bold(line.get(method, float("nan")), False) for method in apart}
        lines.append(
            {"parameters": f"{budget:,}", "task": task, **shown, "kinds chosen": kinds.get((budget, task), "")}
        )
    return to_markdown(pd.DataFrame(lines))


def _bold(value: float, best: bool) -> str:
    if pd.isna(value):
        return "-"
    return f"**{value:.3f}**" if best else f"{value:.3f}"


def differences(against: pd.DataFrame, method: str, rivals: Sequence[str]) -> str:
    """``method`` minus those of ``rivals`` that it met, at each budget with its interval, as Markdown.

    Args:
        against: as :func:`paired` gives it.
    """
    own = against[against["method"] == method].copy()
    own["shown"] = ["{difference:+.3f} ({low:+.3f} to {high:+.3f})".format(**row) for row in own.to_dict("records")]
    table = own.pivot(index="budget", columns="rival", values="shown").fillna("-")
    table = table[[rival for rival in rivals if rival in table]]
    table.columns = [f"{method} minus {rival}" for rival in table]
    table.insert(0, "parameters", [f"{budget:,}" for budget in table.index])
    return to_markdown(table)


def loss_ratios(rows: pd.DataFrame, method: str, rivals: Sequence[str]) -> str:
    """Validation loss of ``method`` over that of each of ``rivals``, below 1 where it is better, as Markdown.

    The geometric mean over tasks and seeds at each budget, with a 95 % bootstrap interval.
    """
    logs = rows.assign(log_loss=np.log(rows["validation_loss"]))
    columns = {}
    for rival in rivals:
        found = paired(logs, method, rival, "log_loss")
        shown = {
            row["budget"]: "{:.3f} ({:.3f} to {:.3f})".format(*np.exp([row["difference"], row["low"], row["high"]]))
            for row in found.to_dict("records")
        }
        columns[f"loss of {method} over {rival}"] = shown
    table = pd.DataFrame(columns).sort_index().fillna("-")
    table.insert(0, "parameters", [f"{budget:,}" for budget in table.index])
    return to_markdown(table)


def plot(rows: pd.DataFrame, methods: Sequence[str], path: Path) -> None:
    """Test quality over budget, a panel a task and one for their mean; bars are the standard error over seeds."""
    tasks, budgets = sorted(rows["task"].unique()), sorted(rows["budget"].unique())
    rows = rows.groupby(["task", "method", "budget", "seed"], sort=False, as_index=False)["test"].mean()
    means = rows.groupby(["method", "budget", "seed"], sort=False, as_index=False)["test"].mean()
    figure, axes = plt.subplots(1, len(tasks) + 1, figsize=(3.6 * (len(tasks) + 1), 4.2), squeeze=False)
    for axis, task in zip(axes[0], ["mean", *tasks], strict=True):
        shown = means if task == "mean" else rows[rows["task"] == task]
        for number, method in enumerate(methods):
            by_budget = shown.loc[shown["method"] == method].groupby("budget")["test"]
            mean = by_budget.mean()
            if mean.empty:
                continue
            style = {"color": f"C{number}", "marker": "o", "capsize": 3, "lw": 2.2 if method == "SLAT" else 1.2}
            axis.errorbar(mean.index, mean, yerr=by_budget.sem(), label=method, **style)
        axis.set_xscale("log")
        axis.set_xticks(budgets, [f"{budget:,}" for budget in budgets], fontsize=8)
        axis.minorticks_off()
        axis.set_title(task)
        axis.set_xlabel("adapter parameters (budget)")
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel("test quality")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2 * (len(tasks) + 1), frameon=False)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(path, dpi=140)
