"""Tables of a run: one row a method, over all of its tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..config.task import RESPONSE
from ..files import write_json, write_listed, write_text
from ..records import ALONE, POOLED
from ..run_folder import RunFolder
from .choice import recommended
from .data import RunData
from .formats import to_csv, to_latex, to_markdown
from .fronts import nondominated
from .hypervolume import Reference, hypervolumes


def by_seed(results: pd.DataFrame) -> pd.DataFrame:
    """One row a method and seed: means over the tasks of the run, their ``worst``, and what all of them cost together.

    Only seeds that trained on every task count.
    """
    tasks = results["task"].nunique()
    grouped = results.groupby(["method", "seed"], sort=False)
    apart = grouped["how"].transform("first") == ALONE
    seconds = grouped["train_seconds"].transform("sum").where(apart, results["train_seconds"])
    table = results.assign(
        worst=grouped["quality"].transform("min"),
        **{name: grouped[name].transform("mean") for name in ("quality", "validation", "retained", "test_loss")},
        train_seconds=seconds,
    )
    whole = grouped["task"].transform("count") == tasks
    return table[whole].drop_duplicates(["method", "seed"], ignore_index=True)


def comparison(results: pd.DataFrame) -> pd.DataFrame:
    """One row a method: means and standard deviations over seeds, and whether it is on the front of the means; found
    ones first, then by parameters. Seeds that searched again may have found different sizes; ``structure`` is that of
    the first seed.

    Of several tasks there is a column a task with its mean quality, and ``own: <task>`` with the parameters that it
    uses; ``quality``, ``validation`` and ``retained`` are means over tasks, ``worst`` is the worst task of each seed,
    and ``params``, ``bytes`` and ``train_seconds`` are those of all tasks together.
    """
    tasks = list(results["task"].unique())
    seeds = by_seed(results)
    table = (
        seeds.groupby("method", sort=False)
        .agg(
            name=("name", "first"),
            family=("family", "first"),
            how=("how", "first"),
            structure=("structure", "first"),
            params=("params", "mean"),
            bytes=("bytes", "mean"),
            params_percent=("params_percent", "mean"),
            compression=("compression", "mean"),
            learning_rate=("learning_rate", "first"),
            validation=("validation", "mean"),
            quality=("quality", "mean"),
            quality_sd=("quality", "std"),
            **({"worst": ("worst", "mean")} if len(tasks) > 1 else {}),
            retained=("retained", "mean"),
            retained_sd=("retained", "std"),
            train_seconds=("train_seconds", "mean"),
            seeds=("seed", "count"),
            test_loss=("test_loss", "mean"),
        )
        .reset_index()
    )
    table["params"] = table["params"].round().astype(int)
    table["on_front"] = nondominated(table)
    if len(tasks) > 1:
        whole = results.merge(seeds[["method", "seed"]], on=["method", "seed"])
        for column, name in (("quality", "{}"), ("own", "own: {}")):
            means = whole.pivot_table(index="method", columns="task", values=column)
            found = {name.format(task): table["method"].map(means[task]) for task in tasks}
            table = table.assign(**(found if column == "quality" else {n: v.astype(int) for n, v in found.items()}))
    return table.sort_values(["family", "params"], ascending=[False, True], ignore_index=True)


def found_ones(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of found structures."""
    return table[(table["family"] == "slat") & (table["how"] == POOLED)]


def usable(table: pd.DataFrame, data: RunData) -> pd.DataFrame:
    """Rows of methods that leave an adapter for each task: all but full fine-tuning, which is as large as the model."""
    own = table[[f"own: {task}" for task in data.tasks]].max(axis=1) if data.several else table["params"]
    return table[own < data.environment.model.params]


def display(table: pd.DataFrame, data: RunData) -> pd.DataFrame:
    """The comparison as people read it: text cells, spreads beside means; whether a method is on the front is left out
    where all of them are."""

    def plain(column: pd.Series) -> list[str]:
        return [f"{value:.3f}" for value in column]

    def spread(name: str) -> list[str]:
        pairs = zip(table[name], table[f"{name}_sd"], strict=True)
        return [f"{m:.3f}" if np.isnan(s) else f"{m:.3f} ± {s:.3f}" for m, s in pairs]

    sizes = {
        "parameters": [f"{p:,}" for p in table["params"]],
        **stored(table),
        "% of backbone": plain(table["params_percent"]),
        "compression": ["-" if np.isinf(c) else f"{c:,.0f}x" for c in table["compression"]],
    }
    metric = data.config.metric
    qualities = (
        {
            **{task: plain(table[task]) for task in data.tasks},
            "average": spread("quality"),
            "worst": plain(table["worst"]),
            "validation": plain(table["validation"]),
        }
        if data.several
        else {f"validation {metric}": plain(table["validation"]), f"test {metric}": spread("quality")}
    )
    if metric in RESPONSE and not data.several:
        qualities["test perplexity"] = [f"{loss:.2f}" for loss in np.exp(table["test_loss"])]
    return pd.DataFrame(
        {
            "method": table["name"],
            **(qualities | sizes if data.several else sizes | qualities),
            "retained": spread("retained"),
            **({} if table["on_front"].all() else {"front": ["yes" if on else "" for on in table["on_front"]]}),
            "seconds": [f"{s:.0f}" for s in table["train_seconds"]],
        }
    )


def stored(table: pd.DataFrame) -> dict[str, list[str]]:
    """The column of stored bytes, where they are known."""
    sizes = table["bytes"]
    return {} if sizes.isna().all() else {"stored bytes": ["-" if np.isnan(b) else f"{b:,.0f}" for b in sizes]}


def write_measured(run: RunFolder, data: RunData) -> None:
    """Write what was measured: ``results.csv``, ``perturbation.csv`` and ``robustness.csv``."""
    for name, rows in (("results", data.results), ("perturbation", data.perturbed), ("robustness", data.robust)):
        write_listed(run / f"{name}.csv", to_csv(rows))


def write_comparison(run: RunFolder, data: RunData) -> pd.DataFrame:
    """Write ``comparison.csv .md .tex``, ``pareto.csv`` and ``hypervolume.json``; returns the comparison."""
    table = comparison(data.results)
    shown = display(table, data)
    for name, rows in (("comparison", table), ("pareto", table[table["on_front"]])):
        write_listed(run / f"{name}.csv", to_csv(rows))
    best = recommended(usable(table, data), data.config.tolerance)
    if best is not None:
        marked = [
            f"{name}, recommended" if method == best["method"] else name
            for method, name in zip(table["method"], table["name"], strict=True)
        ]
        shown = shown.assign(method=marked)
    write_listed(run / "comparison.md", to_markdown(shown))
    write_text(run / "comparison.tex", to_latex(shown))
    write_json(run / "hypervolume.json", hypervolumes_of(data))
    return table


def hypervolumes_of(data: RunData) -> dict[str, object]:
    """Return the hypervolumes of a run on test, and the box that they are shares of."""
    seeds = by_seed(data.results)
    majority = float(np.mean([task.majority for task in data.environment.tasks]))
    reference = Reference.of(seeds, majority, data.environment.model.params)
    return {
        "reference": vars(reference),
        "interval": "95 % bootstrap over seeds",
        "note": "of log2 parameters from 4 to 18, quality, and quality under perturbation, from low (0) to high (1)",
        **hypervolumes(seeds, reference, data.config.seed),
    }
