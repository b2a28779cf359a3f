"""The report: one self-contained HTML file that needs no network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from ..run_folder import STUDIES, RunFolder, write_text
from . import robustness
from .budget import budgets
from .figures import save_all
from .page import as_yaml, embedded, flat, template
from .plots import found_overlaps, histories, scatters, trial_rows
from .studies import section
from .svg import gate_map, gate_map_legend
from .tables import RunData, display, hypervolumes_of, read_run, recommended, write_tables

_ALT = {
    "perturbation": "Curves of test quality over the share of perturbed words, a panel a kind, a line a method.",
}


def analyse(run: RunFolder) -> tuple[pd.DataFrame, RunData]:
    """Write tables, figures and ``report.html`` of a finished run; returns the comparison and what it came from."""
    data = read_run(run)
    table = write_tables(run, data)
    figures = save_all(run / "figures", data, table)
    studies = RunFolder(run / STUDIES)
    parts = section(studies) if studies.is_done else None
    budget = budgets(run, data)
    budget.to_csv(run / "budget.csv", index=False)
    write_text(run / "report.html", render(data, table, figures, budget, parts))
    return table, data


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
    """The outcome in plain words, whichever side wins."""
    metric = data.config["task"]["metric"]
    tolerance = data.config["search"]["tolerance"]
    best = recommended(table, tolerance)
    baselines = table[(table["family"] == "baseline") & (table["params_percent"] < 100)]
    text = (
        f"{best['name']}, the smallest found structure within {tolerance:g} of the best validation {metric}, reaches "
        f"{best['quality']:.3f} on test with {best['params']:,} trained parameters ({best['params_percent']:.3f} % of "
        f"the backbone) and retains {best['retained']:.1%} of it under perturbed input."
    )
    ceilings = table[(table["family"] == "baseline") & (table["params_percent"] >= 100)]
    for ceiling in ceilings.to_dict("records"):
        text += f" That is {best['quality'] / ceiling['quality']:.1%} of {ceiling['name']} ({ceiling['quality']:.3f})."
    if baselines.empty:
        return text
    rival = baselines.sort_values("validation", ascending=False).iloc[0]
    difference = best["quality"] - rival["quality"]
    verdict = f"{difference:+.3f} for the found structure"
    if metric == "accuracy":
        texts = data.environment["task"]["test"]
        chance = 1.96 * math.sqrt(sum(q * (1 - q) for q in (best["quality"], rival["quality"])) / texts)
        verdict += f" ({'within' if abs(difference) <= chance else 'beyond'} the ±{chance:.3f} of {texts} test texts)"
    ratio = f", {rival['params'] / best['params']:.1f} times as many" if rival["params"] > best["params"] > 0 else ""
    return (
        f"{text} The baseline chosen on validation, {rival['name']}, reaches {rival['quality']:.3f} with "
        f"{rival['params']:,} parameters{ratio}: {verdict}."
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
    found = robustness.table(data.predictions, data.robustness).set_index("method").loc[table["method"]]

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
        "json": json.dumps(structure, indent=1),
        "modules": len(structure["modules"]),
        "params": f"{row['params']:,}",
    }
