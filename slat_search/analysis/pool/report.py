"""The report of a run over several tasks: one self-contained HTML file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ...run_folder import STUDIES, RunFolder, write_text
from ...structure_text import by_line
from ..budget import SEARCH
from ..choice import notes, recommended, verdict, write_choice
from ..curves import plt
from ..formats import to_latex, to_markdown
from ..page import as_yaml, embedded, flat, template
from ..paired import Pair
from ..paired import difference as paired
from ..plots import histories, trial_rows
from ..shared import part_of, shared_by
from ..studies import section
from ..svg import Point, gate_map, gate_map_legend, scatter
from . import sharing
from .data import ALONE, PoolData, read_kept_pool, read_pool
from .table import MEAN, WORST, comparison, difference, display, found_pools, usable


def analyse_pool(run: RunFolder) -> str:
    """Write tables, figures and ``report.html`` of a finished run; returns the label of the recommended pool."""
    data = read_pool(run)
    table = tabulate_pool(run, data)
    illustrate_pool(run, data, table)
    best = recommended(found_pools(table), data.config["search"]["tolerance"])
    return "" if best is None else str(best["method"])


def analyse_kept_pool(run: RunFolder) -> None:
    """Write figures and ``report.html`` of what is kept of a run without its trainings; its tables stay as they are."""
    data = read_kept_pool(run)
    illustrate_pool(run, data, comparison(data.results))


def tabulate_pool(run: RunFolder, data: PoolData) -> pd.DataFrame:
    """Write all tables, what they come to, and which adapter is recommended; returns the comparison."""
    table = comparison(data.results)
    shown = display(table, data)
    write_text(run / "results.csv", data.results.to_csv(index=False))
    write_text(run / "comparison.csv", table.to_csv(index=False))
    write_text(run / "comparison.md", f"{to_markdown(shown)}\n{answer(table, data)}\n")
    write_text(run / "comparison.tex", to_latex(shown))
    write_choice(run, usable(table, data), found_pools(table), data.config["search"]["tolerance"])
    return table


def illustrate_pool(run: RunFolder, data: PoolData, table: pd.DataFrame) -> None:
    """Draw figures and page of a finished run."""
    (run / "figures").mkdir(parents=True, exist_ok=True)
    best = recommended(found_pools(table), data.config["search"]["tolerance"])
    if best is not None:
        figure = sharing.figure(data.structures[best["method"]], data.environment["model"]["layers"])
        figure.savefig(run / "figures" / "sharing.png", bbox_inches="tight")
        plt.close(figure)
    studies = RunFolder(run / STUDIES)
    parts = section(studies) if studies.is_done else None
    write_text(run / "report.html", render(run, data, table, display(table, data), parts))


def render(
    run: RunFolder, data: PoolData, table: pd.DataFrame, shown: pd.DataFrame, studies: dict[str, Any] | None = None
) -> str:
    """The page as text, with the section on its sensitivity studies where there are some."""
    best = recommended(found_pools(table), data.config["search"]["tolerance"])
    return template("pool.html.j2").render(
        name=data.config["name"],
        answer=answer(table, data),
        columns=list(shown.columns),
        rows=[
            {"cells": cells, "found": family == "slat"}
            for cells, family in zip(shown.values.tolist(), table["family"], strict=True)
        ],
        scatters=[_scatter(table, MEAN, "mean test quality"), _scatter(table, WORST, "worst task")],
        own="own" in data.config["search"].get("weights", ()),
        legend=gate_map_legend(m for s in data.structures.values() for m in s["modules"]),
        structures=[_structure(row, data) for _, row in found_pools(table).iterrows()],
        shared=None if best is None else _shared(run, best, data),
        transfer=_transfer(data),
        histories=histories(data),
        studies=studies,
        trials=trial_rows(data.trials),
        budget=_budget(data),
        tuning=data.tuning,
        tasks=[_task(task) for task in data.environment["tasks"]],
        environment=flat({k: v for k, v in data.environment.items() if k != "tasks"}),
        config=as_yaml(data.config),
        seeds=data.config["seeds"],
        steps=data.config["training"]["steps"],
    )


def _task(told: dict[str, Any]) -> dict[str, str]:
    sizes = {split: f"{told[split]:,}" for split in ("train", "validation", "test")}
    return {"task": told["name"], **sizes, "classes": str(len(told["labels"])), "majority": f"{told['majority']:.3f}"}


def answer(table: pd.DataFrame, data: PoolData) -> str:
    """The outcome in plain words, whichever side wins: what is recommended first, then what was found."""
    tolerance = data.config["search"]["tolerance"]
    candidates = usable(table, data)
    said = [verdict(candidates, tolerance, f"quality, mean of {len(data.tasks)} tasks")]
    chosen, best = recommended(candidates, tolerance), recommended(found_pools(table), tolerance)
    if best is None:
        return " ".join([*said, "No pool that the search found could be trained."])
    own = ", ".join(f"{task} {best[f'own: {task}']:,}" for task in data.tasks)
    said.append(
        f"{best['name']}, the smallest found pool within {tolerance:g} of the best on validation, reaches "
        f"{best[MEAN]:.3f} on the mean of {len(data.tasks)} tasks and {best[WORST]:.3f} on the worst, with "
        f"{best['params']:,} parameters in all (used by {own})."
    )
    note = notes(candidates, tolerance).get(str(best["method"]))
    if note and chosen is not None and chosen["method"] != best["method"]:
        said.append(f"{note[0].upper()}{note[1:]}.")
    for row in table.to_dict("records"):
        if row["how"] == ALONE or row["family"] == "baseline":
            said.append(_beside(best, {str(name): value for name, value in row.items()}, data))
    return " ".join(said)


def _beside(best: pd.Series, row: dict[str, Any], data: PoolData) -> str:
    """One sentence on the pool against another method: by how much, over how many seeds, and on which tasks."""
    apart = difference(data.results, best["method"], row["method"])
    means = apart.mean(axis=1)
    spread = f" ± {means.std():.3f} over {len(means)} seeds" if len(means) > 1 else ""
    tasks = ", ".join(f"{task} {apart[task].mean():+.3f}" for task in data.tasks)
    return (
        f"Against {row['name']} ({row[MEAN]:.3f}, {row['params']:,} parameters): {means.mean():+.3f}{spread} ({tasks})"
        f"{_chance(best['method'], row['method'], data)}."
    )


def _chance(one: str, two: str, data: PoolData) -> str:
    """Whether a difference of means over tasks may be chance, where predictions were kept."""
    metrics = [task["metric"] for task in data.config["tasks"]]
    said = [[data.predictions.get(task, {}).get(method, []) for method in (one, two)] for task in data.tasks]
    if not all(all(both) for both in said):
        return ""
    found = paired([Pair(both[0], both[1], metric) for both, metric in zip(said, metrics, strict=True)])
    return f"; {found.bounds}"


def _shared(run: RunFolder, best: pd.Series, data: PoolData) -> dict[str, Any]:
    """What tasks share of the recommended pool."""
    structure = data.structures[best["method"]]
    return {
        "best": best["name"],
        "overlap": sharing.overlap(structure),
        "users": shared_by(structure),
        "figure": embedded(run / "figures" / "sharing.png"),
    }


def _scatter(table: pd.DataFrame, column: str, label: str) -> Markup:
    def point(row: pd.Series) -> Point:
        spread = row["average_sd"] if column == MEAN and not np.isnan(row["average_sd"]) else 0.0
        found = row["family"] == "slat"
        details = [
            f"mean {row[MEAN]:.3f}, worst {row[WORST]:.3f}, retained {row['retained']:.1%}",
            f"{row['params']:,} parameters in all",
            row["how"],
        ]
        target = f"s-{row['method']}" if found and row["how"] != ALONE else ""
        value = row[column]
        return Point(row["name"], row["params"], value, value - spread, value + spread, found, details, target)

    points = [point(row) for _, row in table.iterrows()]
    return scatter(points, label, f"{label} over trained parameters of all tasks, a mark a method")


def _structure(row: pd.Series, data: PoolData) -> dict[str, Any]:
    """The pool, and what each task uses of it."""
    structure, model = data.structures[row["method"]], data.environment["model"]
    maps = []
    for number, task in enumerate(structure["tasks"]):
        used = part_of(structure, number)["modules"]
        drawn = gate_map(used, model["layers"], model["site_columns"], f"{row['name']}, {task}")
        maps.append({"task": task, "params": f"{sum(m['params'] for m in used):,}", "map": drawn})
    return {"name": row["name"], "label": row["method"], "maps": maps, "json": by_line(structure)}


def _transfer(data: PoolData) -> pd.DataFrame | None:
    """Rows: whose part; columns: the task that it was trained on; mean over seeds."""
    if data.transfer.empty:
        return None
    table = data.transfer.pivot_table(index="of", columns="on", values="quality")
    return table.reindex(index=[name for name in (*data.tasks, "random") if name in table.index], columns=data.tasks)


def _budget(data: PoolData) -> list[dict[str, str]]:
    """What each method was given: steps of one training of all tasks, settings tried, and seconds."""
    rows = []
    for _, part in data.results.groupby("method", sort=False):
        apart = part["how"].iloc[0] == ALONE
        steps = part.groupby("seed")["steps"].agg("sum" if apart else "first").mean()
        seconds = part.groupby("seed")["train_seconds"].agg("sum" if apart else "first").mean()
        name = str(part["name"].iloc[0])
        tried = [len(data.tuning[title]["tried"]) for title in part["tuned_as"].unique()]
        rows.append(
            {
                "method": name,
                "trained": str(part["how"].iloc[0]),
                "learning rates tried": str(max(tried)),
                "steps, all tasks together": f"{steps:,.0f}",
                "seconds, all tasks together": f"{seconds:,.0f}",
            }
        )
    search = data.trials
    steps, seconds = search["step"].fillna(0).sum(), search["seconds"].sum()
    last = (SEARCH, "one pool", f"{len(search)} trials", f"{steps:,.0f}", f"{seconds:,.0f}")
    return [*rows, dict(zip(rows[0], last, strict=True))]
