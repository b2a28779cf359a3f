"""The report: one self-contained HTML file that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ..run_folder import STUDIES, RunFolder, write_text
from ..structure_text import by_line
from .budget import budgets
from .choice import best_of, notes, recommended, verdict, write_choice
from .figures import save_all
from .page import as_yaml, embedded, flat, template
from .paired import Pair, difference
from .plots import found_overlaps, histories, scatters, trial_rows
from .studies import section
from .svg import gate_map, gate_map_legend
from .tables import (
    RunData,
    compare,
    display,
    found_ones,
    hypervolumes_of,
    read_csv,
    read_kept,
    read_run,
    usable,
    write_tables,
)

_ALT = {
    "perturbation": "Curves of test quality over the share of perturbed words, a panel a kind, a line a method.",
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
    write_text(run / "answer.md", answer(table, data) + "\n")
    budgets(run, data).to_csv(run / "budget.csv", index=False)
    write_choice(run, usable(table), found_ones(table), data.config["search"]["tolerance"])
    return table


def analyse_kept(run: RunFolder) -> None:
    """Write figures, ``answer.md`` and ``report.html`` of what is kept of a run without its trainings; its tables stay
    as they are. Of chance nothing is said, and curves have no bands: both need predictions."""
    data = read_kept(run)
    table = compare(data.results)
    write_text(run / "answer.md", answer(table, data) + "\n")
    illustrate(run, data, table)


def illustrate(run: RunFolder, data: RunData, table: pd.DataFrame) -> None:
    """Draw figures and page of a finished run."""
    figures = save_all(run / "figures", data, table)
    studies = RunFolder(run / STUDIES)
    parts = section(studies) if studies.is_done else None
    budget = budgets(run, data) if data.predictions else read_csv(run / "budget.csv")
    write_text(run / "report.html", render(data, table, figures, budget, parts))


def render(
    data: RunData,
    table: pd.DataFrame,
    figures: dict[str, Path],
    budget: pd.DataFrame,
    studies: dict[str, Any] | None = None,
) -> str:
    """The page of a run as text, with the section on its sensitivity studies where there are some."""
    volumes = hypervolumes_of(data)
    shown = display(table, data.config["task"]["metric"])
    return template("report.html.j2").render(
        name=data.config["name"],
        answer=answer(table, data),
        columns=list(shown.columns),
        rows=[
            {"cells": cells, "found": family == "slat"}
            for cells, family in zip(shown.values.tolist(), table["family"], strict=True)
        ],
        figures={name: embedded(figures[name]) for name in _ALT},
        scatters=scatters(table, data),
        alt=_ALT,
        volumes={k: v for k, v in volumes.items() if isinstance(v, dict) and "value" in v},
        tuning=data.selection["tuning"],
        budget=_budget_rows(budget),
        robust=robustness_table(data, table),
        trials=trial_rows(data.trials),
        structures=[_structure_row(row, data) for _, row in table[table["family"] == "slat"].iterrows()],
        own="own" in data.config["search"].get("weights", ()),
        legend=gate_map_legend(m for s in data.structures.values() for m in s["modules"]),
        overlaps=found_overlaps(data, table),
        histories=histories(data),
        studies=studies,
        environment=flat(data.environment),
        config=as_yaml(data.config),
        steps=data.config["training"]["steps"],
        seeds=data.config["seeds"],
    )


def answer(table: pd.DataFrame, data: RunData) -> str:
    """The outcome in plain words, whichever side wins: what is recommended first, then what was found, beside the
    baselines."""
    metric, tolerance = data.config["task"]["metric"], data.config["search"]["tolerance"]
    candidates = usable(table)
    said = [verdict(candidates, tolerance, metric)]
    chosen, found = recommended(candidates, tolerance), recommended(found_ones(table), tolerance)
    if chosen is not None:
        said.append(f"It reaches {_outcome(chosen)}.")
    if found is None:
        return " ".join([*said, "No structure that the search found could be trained."])
    if chosen is None or found["method"] != chosen["method"]:
        said.append(
            f"Of what was found, {found['name']} is the smallest within {tolerance:g} of the best found on validation "
            f"({found['validation']:.3f}); it reaches {_outcome(found)}."
        )
        if note := notes(candidates, tolerance).get(str(found["method"])):
            said.append(f"{note[0].upper()}{note[1:]}.")
    ceilings = table[(table["family"] == "baseline") & (table["params_percent"] >= 100)]
    for ceiling in ceilings[ceilings["quality"] > 0].to_dict("records"):
        share = found["quality"] / ceiling["quality"]
        said.append(f"{found['name']} is at {share:.1%} of {ceiling['name']} ({ceiling['quality']:.3f}).")
    baselines = candidates[candidates["family"] == "baseline"]
    if len(baselines):
        said.append(_beside(found, best_of(baselines), data))
    return " ".join(said)


def _outcome(row: pd.Series) -> str:
    return (
        f"{row['quality']:.3f} on test with {row['params']:,} trained parameters ({row['params_percent']:.3f} % of the "
        f"backbone) and retains {row['retained']:.1%} of it under perturbed input"
    )


def _beside(found: pd.Series, rival: pd.Series, data: RunData) -> str:
    """A found structure against the baseline that is best on validation."""
    said = [data.predictions.get(row["method"], []) for row in (found, rival)]
    apart: object = f"{found['quality'] - rival['quality']:+.3f}"
    if all(said):
        apart = difference([Pair(said[0], said[1], data.config["task"]["metric"])])
    ratio = f", {rival['params'] / found['params']:.1f} times as many" if rival["params"] > found["params"] > 0 else ""
    return (
        f"Against {rival['name']}, the baseline that is best on validation, with {rival['quality']:.3f} and "
        f"{rival['params']:,} parameters{ratio}: {apart}."
    )


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
    """Robustness as people read it, in the order of the comparison: values with their intervals."""
    found = data.robust.set_index("method").loc[table["method"]]

    def interval(name: str) -> list[str]:
        bounds = zip(found[name], found[f"{name}_low"], found[f"{name}_high"], strict=True)
        return [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high in bounds]

    def pair(name: str) -> list[str]:
        both = zip(found[f"{name}_clean"], found[f"{name}_worst"], strict=True)
        return ["-" if pd.isna(clean) else f"{clean:.3f} / {worst:.3f}" for clean, worst in both]

    return pd.DataFrame(
        {
            "method": table["name"].to_list(),
            "clean": interval("quality"),
            "retained": interval("retained"),
            "worst case": interval("worst"),
            "at": found["worst_at"].to_list(),
            "confidence, clean / worst": pair("confidence"),
            "calibration error, clean / worst": pair("calibration_error"),
        }
    )


def _structure_row(row: pd.Series, data: RunData) -> dict[str, Any]:
    structure, model = data.structures[row["method"]], data.environment["model"]
    return {
        "name": row["name"],
        "map": gate_map(structure["modules"], model["layers"], model["site_columns"], row["name"]),
        "quality": f"{row['quality']:.3f}",
        "label": row["method"],
        "json": by_line(structure),
        "modules": len(structure["modules"]),
        "params": f"{row['params']:,}",
    }
