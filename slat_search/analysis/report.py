"""The report: one self-contained HTML file that needs no network; of several tasks it shows what they share, too."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..files import write_listed, write_text
from ..run_folder import STUDIES, RunFolder
from ..structure_text import by_line
from . import sharing
from .answer import answer
from .budget import budgets
from .choice import recommended, write_choice
from .data import (
    RunData,
    read_kept,
    read_run,
)
from .drawing import inline, save
from .figures import figures_of
from .formats import in_markdown, to_csv
from .page import (
    as_yaml,
    described,
    task_rows,
    template,
)
from .plots import (
    HISTORY,
    SCATTER,
    found_overlaps,
    histories,
    on_page,
    scatters,
    trial_rows,
)
from .shared import part_of, shared_by
from .studies import section_of
from .svg import gate_map, gate_map_legend
from .table_files import read_csv
from .tables import (
    comparison,
    display,
    found_ones,
    hypervolumes_of,
    usable,
    write_tables,
)

_ALT = {
    "perturbation": "Curves of test quality over the share of perturbed words, a panel a kind, a line a method.",
    "sharing": "Left: parameters that each task uses in each block. Right: a tree that joins tasks by what they share; "
    "the table above holds its figures.",
}


def analyse(run: RunFolder) -> tuple[pd.DataFrame, RunData]:
    """Write tables, figures and ``report.html`` of a finished run; returns the comparison and what it came from."""
    data = read_run(run)
    table = tabulate(run, data)
    illustrate(run, data, table)
    return table, data


def tabulate(run: RunFolder, data: RunData) -> pd.DataFrame:
    """Write all tables of a finished run, what they come to, and which adapter is recommended; returns the
    comparison."""
    table = write_tables(run, data)
    write_listed(run / "answer.md", in_markdown(answer(table, data)) + "\n")
    write_listed(run / "budget.csv", to_csv(budgets(run, data)))
    write_choice(run, usable(table, data), found_ones(table), data.config.tolerance)
    return table


def analyse_kept(run: RunFolder) -> None:
    """Write figures, ``answer.md`` and ``report.html`` of what is kept of a run without its trainings; its tables stay
    as they are. Of chance nothing is said, and curves have no bands: both need predictions."""
    data = read_kept(run)
    table = comparison(data.results)
    write_listed(run / "answer.md", in_markdown(answer(table, data)) + "\n")
    illustrate(run, data, table)


def illustrate(run: RunFolder, data: RunData, table: pd.DataFrame) -> None:
    """Draw figures and page of a finished run."""
    figures = figures_of(data, table)
    save(run / "figures", figures)
    studies = RunFolder(run / STUDIES)
    parts = section_of(studies) if studies.is_done else None
    kept = run / "budget.csv"
    budget = budgets(run, data) if data.predictions else read_csv(kept) if kept.is_file() else pd.DataFrame()
    write_text(run / "report.html", render(data, table, figures, budget, parts))


def render(
    data: RunData,
    table: pd.DataFrame,
    figures: dict[str, Figure],
    budget: pd.DataFrame,
    studies: dict[str, Any] | None = None,
) -> str:
    """The page of a run as text, with the section on its sensitivity studies where there are some."""
    volumes = hypervolumes_of(data)
    shown = display(table, data)
    best = recommended(found_ones(table), data.config.tolerance)
    return template("report.html.j2").render(
        name=data.config.name,
        answer=answer(table, data),
        several=data.several,
        columns=list(shown.columns),
        rows=[
            {"cells": cells, "found": family == "slat"}
            for cells, family in zip(shown.values.tolist(), table["family"], strict=True)
        ],
        figures={name: inline(figure, _ALT[name]) for name, figure in figures.items() if name in _ALT},
        scatters=on_page(scatters(table, data), "scatter", SCATTER),
        volumes={k: v for k, v in volumes.items() if isinstance(v, dict) and "value" in v},
        shared=_shared(best, data) if data.several and best is not None else None,
        transfer=_transfer(data),
        tuning=data.selection.tuning,
        budget=_budget_rows(budget),
        robust=robustness_table(data, table),
        trials=trial_rows(data.trials),
        structures=[_structure_row(row, data) for _, row in found_ones(table).iterrows()],
        own=data.config.own_weights,
        legend=gate_map_legend(m for s in data.structures.values() for m in s["modules"]),
        overlaps=found_overlaps(data, table),
        histories=on_page(histories(data), "history", HISTORY, right=24),
        studies=studies,
        tasks=task_rows(data.environment),
        environment=described(data.environment),
        config=as_yaml(data.config.raw),
        steps=data.config.steps,
        seeds=data.config.seeds,
    )


def _shared(best: pd.Series, data: RunData) -> dict[str, Any]:
    """Return what tasks share of the recommended structure."""
    structure = data.structures[best["method"]]
    return {"best": best["name"], "overlap": sharing.overlap(structure), "users": shared_by(structure)}


def _transfer(data: RunData) -> pd.DataFrame | None:
    """Return mean quality over seeds; a row a task whose part was trained, and a column a task that it was trained
    on."""
    if data.transfer.empty:
        return None
    table = data.transfer.pivot_table(index="of", columns="on", values="quality")
    return table.reindex(index=[name for name in (*data.tasks, "random") if name in table.index], columns=data.tasks)


def _budget_rows(budget: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "method": row["name"],
            "settings tried": f"{row['tuned']:,}",
            "trainings": f"{row['trainings']:,}",
            "steps": f"{row['steps']:,}",
            "seconds": f"{row['seconds']:,.0f}",
        }
        for row in budget.to_dict("records")
    ]


def robustness_table(data: RunData, table: pd.DataFrame) -> pd.DataFrame:
    """Robustness as people read it, in the order of the comparison: values with their intervals; empty where nothing
    of it was kept."""
    if data.robust.empty:
        return data.robust
    robust = data.robust.set_index("method")
    rows = table[table["method"].isin(robust.index)]
    found = robust.loc[rows["method"]]

    def interval(name: str) -> list[str]:
        bounds = zip(found[name], found[f"{name}_low"], found[f"{name}_high"], strict=True)
        return [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in bounds]

    def pair(name: str) -> list[str]:
        both = zip(found[f"{name}_clean"], found[f"{name}_worst"], strict=True)
        return ["-" if pd.isna(clean) else f"{clean:.3f} / {worst:.3f}" for clean, worst in both]

    return pd.DataFrame(
        {
            "method": rows["name"].to_list(),
            "clean": interval("quality"),
            "retained": interval("retained"),
            "worst case": interval("worst"),
            "at": found["worst_at"].to_list(),
            "confidence, clean / worst": pair("confidence"),
            "calibration error, clean / worst": pair("calibration_error"),
        }
    )


def _structure_row(row: pd.Series, data: RunData) -> dict[str, Any]:
    """Return what was found as maps: one, or of several tasks one a task with what it uses."""
    structure, model = data.structures[row["method"]], data.environment.model
    parts = {"": structure["modules"]}
    if data.several:
        parts = {task: part_of(structure, number)["modules"] for number, task in enumerate(structure["tasks"])}
    maps = []
    for task, modules in parts.items():
        name = f"{row['name']}, {task}" if task else row["name"]
        drawn = gate_map(modules, model.layers, model.site_columns, name)
        params = f", {sum(module['params'] for module in modules):,} parameters" if task else ""
        maps.append({"caption": f"{name}: test {row[task or 'quality']:.3f}{params}", "map": drawn})
    return {
        "name": row["name"],
        "maps": maps,
        "label": row["method"],
        "json": by_line(structure),
        "modules": len(structure["modules"]),
        "params": f"{row['params']:,}",
    }
