"""The report: one self-contained HTML file that needs no network."""

from __future__ import annotations

import json
import math
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ..run_folder import STUDIES, RunFolder, write_text
from . import robustness
from .budget import budgets
from .figures import save_all
from .page import as_yaml, embedded, flat, template
from .scatter import Point, scatter
from .studies import section
from .tables import RunData, display, hypervolumes_of, read_run, recommended, write_tables

_ALT = {
    "gates": "A grid of layers by modules for each found structure; a filled cell names the modules kept there.",
    "perturbation": "Curves of test quality over the share of perturbed words, a panel a kind, a line a method.",
    "search": "Validation quality and parameter count of every trial over its steps; crosses mark stopped trials.",
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
        trials=_trial_rows(data.trials),
        structures=[_structure_row(row, data) for _, row in table[table["family"] == "slat"].iterrows()],
        studies=studies,
        environment=flat(data.environment),
        config=as_yaml(data.config),
        steps=data.config["training"]["steps"],
        seeds=data.config["seeds"],
    )


def scatters(table: pd.DataFrame, data: RunData) -> list[Markup]:
    """Test quality and what is retained of it over parameters, one plot each."""
    metric = data.config["task"]["metric"]

    def point(row: pd.Series, column: str) -> Point:
        value, spread = row[column], 0.0 if np.isnan(row[f"{column}_sd"]) else row[f"{column}_sd"]
        structure = data.structures.get(row["method"])
        details = [
            f"test {metric} {row['quality']:.3f}, retained {row['retained']:.1%}",
            f"{row['params']:,} parameters, {row['params_percent']:.3f} % of the backbone",
            *(modules_by_block(structure) if structure else []),
        ]
        target = f"s-{row['structure']}" if structure else ""
        found = row["family"] == "slat"
        return Point(row["name"], row["params"], value, value - spread, value + spread, found, details, target)

    plots = (("quality", f"test {metric}"), ("retained", "retained under perturbation"))
    return [
        scatter(
            [point(row, column) for _, row in table.iterrows()],
            label,
            f"{label} over trained parameters, a mark a method; the table above holds the same figures",
        )
        for column, label in plots
    ]


def modules_by_block(structure: dict[str, Any]) -> list[str]:
    """Lines that say what stands in each block: ``block 2: lora 3, bias 1 (2,304 parameters)``."""
    lines = []
    for block, modules in groupby(structure["modules"], itemgetter("layer")):
        sizes: dict[str, int] = {}
        params = 0
        for module in modules:
            sizes[module["kind"]] = sizes.get(module["kind"], 0) + module["size"]
            params += module["params"]
        kinds = ", ".join(f"{kind} {size}" for kind, size in sorted(sizes.items()))
        lines.append(f"block {block}: {kinds} ({params:,} parameters)")
    return lines


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


def _trial_rows(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Cells of the trials table; what a failed trial never measured is a dash."""
    formats = {
        "trial": "{:.0f}",
        "status": "{}",
        "sparsity": "{:.3g}",
        "budget": "{:,.0f}",
        "learning_rate": "{:.2g}",
        "gate_learning_rate": "{:.2g}",
        "kinds": "{}",
        **{name: "{:.0f}" for name in map(str, trials) if name.startswith("layer_") or name.endswith("_size")},
        "noise_kind": "{}",
        "noise_ratio": "{:.0%}",
        "step": "{:.0f}",
        "quality": "{:.3f}",
        "retained": "{:.1%}",
        "params": "{:,.0f}",
        "seconds": "{:.0f}",
        "refitted": "{}",
    }
    rows = []
    for _, trial in trials.iterrows():
        known = {key: form for key, form in formats.items() if key in trials}
        rows.append({key: "-" if pd.isna(trial[key]) else form.format(trial[key]) for key, form in known.items()})
    return rows


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
    structure = data.structures[row["method"]]
    return {
        "name": row["name"],
        "digest": row["structure"],
        "json": json.dumps(structure, indent=1),
        "modules": len(structure["modules"]),
        "params": f"{row['params']:,}",
    }
