"""Content of the plots of a run: its methods and its trials, and the words of their marks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ..records import KeptConfig
from .data import RunData
from .drawing import Panel
from .overlap import overlaps
from .panels import (
    Point,
    Progress,
    history,
    scatter,
)
from .tables import found_ones

#: what is said of a plot after the name of what it shows
SCATTER = "over adapter parameters, a mark a method; the table above holds the same figures"
HISTORY = "of each trial over its steps; the table below holds what each trial came to"


def scatters(table: pd.DataFrame, data: RunData) -> list[Panel]:
    """Plot test quality and its retained share over parameters."""
    metric = data.config.metric

    def point(row: pd.Series, column: str) -> Point:
        value, deviation = row[column], row.get(f"{column}_sd", np.nan)
        spread = 0.0 if np.isnan(deviation) else deviation
        structure = data.structures.get(row["method"])
        details = [
            f"test {metric} {row['quality']:.3f}, retained {row['retained']:.1%}",
            f"{row['params']:,} parameters, {row['params_percent']:.3f} % of the backbone",
            *((f"worst task {row['worst']:.3f}", row["how"]) if data.several else ()),
            *(modules_by_block(structure) if structure else []),
        ]
        target = f"s-{row['method']}" if structure else ""
        found = row["family"] == "slat"
        return Point(row["name"], row["params"], value, value - spread, value + spread, found, details, target)

    plots = [
        ("quality", f"test {metric}"),
        *([("worst", "worst task")] if data.several else []),
        *([] if data.perturbed.empty else [("retained", "retained under perturbation")]),
    ]
    return [
        partial(scatter, points=[point(row, column) for _, row in table.iterrows()], ylabel=label)
        for column, label in plots
    ]


class Searched(Protocol):
    """The parts of a run that describe its search."""

    @property
    def config(self) -> KeptConfig: ...
    @property
    def trials(self) -> pd.DataFrame: ...
    @property
    def history(self) -> pd.DataFrame: ...


def histories(data: Searched) -> list[Panel]:
    """Validation quality and size of every trial's discretised structure over its steps, a panel each."""
    told = {row["trial"]: [f"{name} {value}" for name, value in row.items()] for row in trial_rows(data.trials)}
    trials = data.trials.set_index("trial").to_dict("index")

    def progress(number: int, reports: pd.DataFrame, column: str) -> Progress:
        trial = trials[number]
        steps, values = reports["step"].tolist(), reports[column].tolist()
        stopped, chosen = trial["status"] == "stopped", trial["refitted"] == "yes"
        return Progress(f"trial {number}", steps, values, stopped, chosen, told[str(number)][1:])

    plots = (("quality", f"validation {data.config.metric}", False), ("params", "parameters", True))
    groups = [(int(str(number)), reports) for number, reports in data.history.groupby("trial")]
    return [
        partial(
            history,
            trials=[progress(number, reports, column) for number, reports in groups],
            last=data.config.steps,
            ylabel=label,
            counts=counts,
        )
        for column, label, counts in plots
    ]


def found_overlaps(data: RunData, table: pd.DataFrame) -> pd.DataFrame:
    """Return the overlaps between found structures, by name."""
    return overlaps({row["name"]: data.structures[row["method"]] for _, row in found_ones(table).iterrows()})


def modules_by_block(structure: dict[str, Any]) -> list[str]:
    """Return a line per block of its modules: ``block 2: lora 3, bias 1 (2,304 parameters)``."""
    lines = []
    for block, modules in groupby(structure["modules"], itemgetter("layer")):
        its = [*modules]
        lines.append(f"block {block}: {kinds_of(its)} ({sum(m['params'] for m in its):,} parameters)")
    return lines


def kinds_of(modules: Sequence[dict[str, Any]]) -> str:
    """Return the kinds of some modules with the sum of their sizes: ``bias 1, lora 3``."""
    sizes: Counter[str] = Counter()
    for module in modules:
        sizes[module["kind"]] += module["size"]
    return ", ".join(f"{kind} {size}" for kind, size in sorted(sizes.items()))


def trial_rows(trials: pd.DataFrame) -> list[dict[str, str]]:
    """Cells of the trials table; a dash where a failed trial has no measure."""
    formats = {
        "trial": "{:.0f}",
        "status": "{}",
        "sparsity": "{:.3g}",
        "budget": "{:,.0f}",
        "learning_rate": "{:.2g}",
        "gate_learning_rate": "{:.2g}",
        "kinds": "{}",
        "sharing": "{:.2f}",
        **{name: "{:.0f}" for name in map(str, trials) if name.startswith("layer_") or name.endswith("_size")},
        "noise": "{}",
        "step": "{:.0f}",
        "quality": "{:.3f}",
        "quality_worst": "{:.3f}",
        "retained": "{:.1%}",
        "params": "{:,.0f}",
        "seconds": "{:.0f}",
        "refitted": "{}",
    }
    if "noise_kind" in trials:
        trials = trials.assign(
            noise=[_noise(*both) for both in zip(trials["noise_kind"], trials["noise_ratio"], strict=True)]
        )
    known = {key: form for key, form in formats.items() if key in trials}
    return [
        {key.replace("_", " "): "-" if pd.isna(trial[key]) else form.format(trial[key]) for key, form in known.items()}
        for _, trial in trials.iterrows()
    ]


def _noise(kind: Any, ratio: float) -> str | float:
    """Name a kind of noise with its ratio; a ratio that was sampled beside no noise says nothing."""
    if pd.isna(kind) or kind == "none":
        return kind
    return f"{str(kind).replace('_', ' ')} {ratio:.0%}"
