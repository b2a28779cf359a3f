"""What a comparison at equal budgets comes to: paired differences with intervals, tables and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from slat_search.analysis.formats import to_markdown
from slat_search.analysis.statistics import (
    holm,
    interval,
    mean_interval,
    sign_flip_test,
)

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
    kinds = rows[rows["method"] == "SLAT"].groupby(["budget", "task"])["kinds"].agg(lambda result: result.iloc[0])
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
        result = paired(logs, method, rival, "log_loss")
        shown = {
            row["budget"]: "{:.3f} ({:.3f} to {:.3f})".format(*np.exp([row["difference"], row["low"], row["high"]]))
            for row in result.to_dict("records")
        }
        columns[f"loss of {method} over {rival}"] = shown
    table = pd.DataFrame(columns).sort_index().fillna("-")
    table.insert(0, "parameters", [f"{budget:,}" for budget in table.index])
    return to_markdown(table)


def nested_interval(differences: pd.DataFrame, draws: int = 4000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over tasks of paired differences; resamples tasks, and seeds within them.

    Args:
        differences: ``task`` and ``difference``, a row a seed.
    """
    rng = np.random.default_rng(seed)
    by_task = [part["difference"].to_numpy() for _, part in differences.groupby("task")]
    drawn = np.empty(draws)
    for draw in range(draws):
        tasks = rng.integers(len(by_task), size=len(by_task))
        drawn[draw] = np.mean([rng.choice(by_task[t], len(by_task[t])).mean() for t in tasks])
    return interval(drawn)


def against(rows: pd.DataFrame, method: str, rivals: Sequence[str], measure: str = "test") -> pd.DataFrame:
    """Mean over tasks of ``method`` minus each rival at each budget, seed by seed.

    Returns:
        ``budget``, ``rival``, ``tasks``, ``pairs``, ``difference``, ``low``, ``high`` (:func:`nested_interval`), and
        ``p`` of a sign-flip test on the pairs, corrected over the budgets of a rival (Holm).
    """
    out: list[dict[str, Any]] = []
    columns = rows.dropna(subset=["budget"]).pivot_table(
        index=["budget", "task", "seed"], columns="method", values=measure
    )
    for rival in (rival for rival in rivals if {method, rival} <= set(columns)):
        mine = []
        for budget, part in (columns[method] - columns[rival]).dropna().groupby(level="budget"):
            pairs = part.rename("difference").reset_index()
            low, high = nested_interval(pairs)
            mean = pairs.groupby("task")["difference"].mean().mean()
            p = sign_flip_test(pairs["difference"].to_numpy())
            row = {"budget": int(budget), "rival": rival, "tasks": pairs["task"].nunique(), "pairs": len(pairs)}
            mine.append({**row, "difference": mean, "low": low, "high": high, "p": p})
        for row, p in zip(mine, holm([row["p"] for row in mine]) if mine else [], strict=True):
            out.append({**row, "p": float(p)})
    return pd.DataFrame(out)


def differences_to(method: str, compared: pd.DataFrame) -> str:
    """What :func:`against` found, a line a budget and a column a rival, as Markdown."""
    if compared.empty:
        return ""
    shown = compared.assign(
        shown=[f"{r.difference:+.3f} ({r.low:+.3f} to {r.high:+.3f}), p = {r.p:.3f}" for r in compared.itertuples()]
    )
    wide = shown.pivot(index="budget", columns="rival", values="shown").fillna("-")
    wide.columns = [f"{method} minus {rival}" for rival in wide]
    wide.insert(0, "parameters", [f"{int(budget):,}" for budget in wide.index])
    return to_markdown(wide)


def table(rows: pd.DataFrame, methods: Sequence[str]) -> str:
    """A line a task, budget and method, as Markdown: size, clean and perturbed test quality, loss on validation."""
    shown = []
    rows = rows.assign(
        perturbed_20=[np.mean([q for name, q in p.items() if name.endswith("0.2")]) for p in rows["perturbed"]]
    )
    for (task, budget), part in rows.groupby(["task", rows["budget"].fillna(0)], sort=True):
        for method in (m for m in methods if m in set(part["method"])):
            mine = part[part["method"] == method]
            shown.append(
                {
                    "task": task,
                    "budget": f"{int(budget):,}" if budget else "own size",
                    "method": method,
                    "parameters": f"{mine['params'].median():,.0f}",
                    "bytes": f"{mine['bytes'].median():,.0f}",
                    "test": f"{mine['test'].mean():.3f} ± {mine['test'].std():.3f}",
                    "at 20 % typos, word drop": f"{mine['perturbed_20'].mean():.3f}",
                    "validation loss": f"{mine['validation_loss'].mean():.3f}",
                    "seeds": len(mine),
                    "learning rate": f"{mine['learning_rate'].iloc[0]:g}",
                }
            )
    return to_markdown(pd.DataFrame(shown))


def reaches(rows: pd.DataFrame, share: float = 0.99, references: Sequence[str] = ("LoRA r=8", "full")) -> str:
    """The smallest size at which each method has ``share`` of a reference's mean test quality, as Markdown."""
    lines = []
    for task, part in rows.groupby("task"):
        means = part.groupby(["method", "params"]).agg({"test": "mean", "bytes": "median"}).reset_index("params")
        for reference in (r for r in references if r in means.index):
            goal = share * means.loc[[reference], "test"].max()
            for method in dict.fromkeys(part["method"]):
                mine = means.loc[[method]]
                enough = mine[mine["test"] >= goal].sort_values("params")
                line = {"task": task, f"{share:.0%} of": reference, "method": method}
                if len(enough):
                    first = enough.iloc[0]
                    lines.append({**line, "parameters": f"{first['params']:,.0f}", "bytes": f"{first['bytes']:,.0f}"})
                else:
                    lines.append({**line, "parameters": "not reached", "bytes": "-"})
    return to_markdown(pd.DataFrame(lines)) if lines else ""


def plot(rows: pd.DataFrame, methods: Sequence[str], path: Path, references: Sequence[str] = ()) -> None:
    """Plot test quality over budget, in a panel for each task and one for the mean of all; bars are the standard error
    over seeds.

    The mean is that of methods and budgets that all tasks have.

    Args:
        references: methods of one size, each a line across.
    """
    tasks = sorted(rows["task"].unique())
    budgets = sorted(rows.loc[rows["method"].isin(methods), "budget"].unique())
    rows = rows.groupby(["task", "method", "budget", "seed"], sort=False, as_index=False)["test"].mean()
    groups = rows.groupby(["method", "budget", "seed"], sort=False, as_index=False)
    means = groups["test"].mean()[groups["test"].count()["test"] == len(tasks)]
    panels = ["mean", *tasks] if len(tasks) > 1 and not means.empty else tasks
    figure, axes = plt.subplots(1, len(panels), figsize=(max(3.6 * len(panels), 6.4), 4.2), squeeze=False)
    for axis, task in zip(axes[0], panels, strict=True):
        shown = means if task == "mean" else rows[rows["task"] == task]
        for number, method in enumerate(methods):
            by_budget = shown.loc[shown["method"] == method].groupby("budget")["test"]
            mean = by_budget.mean()
            if mean.empty:
                continue
            style = {"color": f"C{number}", "marker": "o", "capsize": 3, "lw": 2.2 if method == "SLAT" else 1.2}
            axis.errorbar(mean.index, mean, yerr=by_budget.sem(), label=method, **style)
        for dashes, method in zip(("--", ":", "-."), references, strict=False):
            alone = shown.loc[shown["method"] == method]
            if not alone.empty:
                size = f"{alone['budget'].iloc[0]:,.0f} parameters"
                axis.axhline(alone["test"].mean(), color="0.35", ls=dashes, lw=1.2, label=f"{method}, {size}")
        axis.set_xscale("log")
        axis.set_xticks(budgets, [f"{budget:,.0f}" for budget in budgets], fontsize=8)
        axis.minorticks_off()
        axis.set_title(task)
        axis.set_xlabel("adapter parameters (budget)")
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel("test quality")
    legend = dict(pair[::-1] for axis in axes[0] for pair in zip(*axis.get_legend_handles_labels(), strict=True))
    columns = 3 if len(panels) == 1 else 2 * len(panels)
    figure.legend(legend.values(), legend.keys(), loc="lower center", ncols=columns, frameon=False)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    figure.savefig(path, dpi=140)
