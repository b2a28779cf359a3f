"""The report: one self-contained HTML file that needs no network; of several tasks it shows what they share, too."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..files import write_listed, write_text
from ..run_folder import STUDIES, RunFolder
from ..structure_text import by_line
from . import sharing
from .answer import answer
from .budget import budgets
from .choice import recommended, write_choice
from .curves import NAMED
from .data import (
    RunData,
    read_kept,
    read_run,
)
from .drawing import on_page, save
from .figures import figures_of, perturbation
from .formats import to_csv
from .mistakes import read_mistakes
from .mistakes import shown as shown_mistakes
from .overview import facts, next_steps
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
    scatters,
    trial_rows,
)
from .shared import part_of, shared_by
from .studies import section_of
from .svg import gate_map, gate_map_legend
from .table_files import read_csv
from .tables import (
    display,
    found_ones,
    hypervolumes_of,
    usable,
    write_comparison,
    write_measured,
)


def analyse(run: RunFolder) -> tuple[pd.DataFrame, RunData]:
    """Write tables, figures and ``report.html`` of a finished run; returns the comparison and what it came from."""
    data = read_run(run)
    table = tabulate(run, data)
    illustrate(run, data, table)
    return table, data


def tabulate(run: RunFolder, data: RunData) -> pd.DataFrame:
    """Write all tables of a finished run, what they come to, and which adapter is recommended; returns the
    comparison."""
    write_measured(run, data)
    table = write_comparison(run, data)
    write_listed(run / "answer.md", answer(table, data).markdown)
    write_listed(run / "budget.csv", to_csv(budgets(run, data)))
    write_choice(run, usable(table, data), found_ones(table), data.config.tolerance)
    return table


def analyse_kept(run: RunFolder) -> None:
    """Write the comparison, figures, ``answer.md`` and ``report.html`` of the tables that are kept of a run without its
    trainings. Chance is not mentioned, and curves have no bands, as both need predictions."""
    data = read_kept(run)
    table = write_comparison(run, data)
    write_listed(run / "answer.md", answer(table, data).markdown)
    illustrate(run, data, table)


def illustrate(run: RunFolder, data: RunData, table: pd.DataFrame) -> None:
    """Draw figures and page of a finished run."""
    save(run / "figures", figures_of(data, table))
    write_text(run / "report.html", render(run, data, table))


def render(run: RunFolder, data: RunData, table: pd.DataFrame) -> str:
    """The page of a run as text, with the section on its sensitivity studies where there are some."""
    shown, studies = display(table, data), RunFolder(run / STUDIES)
    chosen = recommended(usable(table, data), data.config.tolerance)
    found = recommended(found_ones(table), data.config.tolerance)
    kept = run / "budget.csv"
    budget = budgets(run, data) if data.predictions else read_csv(kept) if kept.is_file() else pd.DataFrame()
    wrong = read_mistakes(run, table, data)
    return template("report.html.j2").render(
        name=data.config.name,
        answer=answer(table, data),
        facts=list(facts(chosen, data, budget)),
        next_steps=list(next_steps(run, chosen, data)),
        several=data.several,
        columns=list(shown.columns),
        rows=shown.values.tolist(),
        found=[place for place, family in enumerate(table["family"]) if family == "slat"],
        best=None if chosen is None else table["method"].to_list().index(chosen["method"]),
        all_on_front=bool(table["on_front"].all()),
        scatters=on_page(scatters(table, data), "scatter", SCATTER),
        volumes=_volume_rows(data),
        mistakes=None if wrong is None or chosen is None else shown_mistakes(wrong, chosen["name"]),
        shared=_shared(found, data) if data.several and found is not None else None,
        transfer=_transfer(data),
        tuning=data.selection.tuning,
        budget=_budget_rows(budget),
        perturbation=on_page(perturbation(data, table), "curves", "over the share of perturbed words", right=NAMED),
        intervals=bool(data.predictions),
        robust=robustness_table(data, table),
        trials=trial_rows(data.trials),
        structures=[_structure_row(row, data) for _, row in found_ones(table).iterrows()],
        own=data.config.own_weights,
        legend=gate_map_legend(m for s in data.structures.values() for m in s["modules"]),
        overlaps=found_overlaps(data, table),
        histories=on_page(histories(data), "history", HISTORY, right=24),
        studies=section_of(studies) if studies.is_done else None,
        tasks=task_rows(data.environment),
        environment=described(data.environment),
        config=as_yaml(data.config.raw),
        steps=data.config.steps,
        seeds=data.config.seeds,
    )


def _volume_rows(data: RunData) -> list[tuple[str, str, str]]:
    """Return the hypervolumes on test as cells."""
    volumes = {key: v for key, v in hypervolumes_of(data).items() if isinstance(v, dict) and "value" in v}
    return [(key, f"{v['value']:.3f}", f"{v['low']:.3f} to {v['high']:.3f}") for key, v in volumes.items()]


def _shared(best: pd.Series, data: RunData) -> dict[str, Any]:
    """Return what tasks share of the recommended found structure."""
    structure = data.structures[best["method"]]
    panels = sharing.panels(structure, data.environment.model.layers)
    return {
        "best": best["name"],
        "overlap": sharing.overlap(structure),
        "users": shared_by(structure),
        "plots": on_page(panels, "", "of each task", sharing.LEFT, right=16),
    }


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
