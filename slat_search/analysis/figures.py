"""Figures of a run."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from . import sharing
from .choice import recommended
from .curves import Line, in_percent, panels
from .data import RunData
from .drawing import in_a_row
from .plots import histories, scatters
from .robustness import kinds_of
from .tables import found_ones


def figures_of(data: RunData, table: pd.DataFrame) -> dict[str, Figure]:
    """Draw every figure of a run; by name."""
    figures = {"pareto": in_a_row(scatters(table, data))[0], "search": in_a_row(histories(data), right=24)[0]}
    if data.robustness:
        figures["perturbation"] = perturbation(data, table)
    best = recommended(found_ones(table), data.config.tolerance)
    if data.several and best is not None:
        figures["sharing"] = sharing.figure(data.structures[best["method"]], data.environment.model.layers)
    return figures


def perturbation(data: RunData, table: pd.DataFrame) -> Figure:
    """Test quality over perturbation ratio, a panel a kind; bands are 95 % intervals."""
    kinds = kinds_of(next(iter(data.robustness.values())).sets)
    curves = {
        kind: [
            Line(row["name"], row["family"] == "slat", in_percent(data.robustness[row["method"]].curve(kind)))
            for _, row in table.iterrows()
            if row["method"] in data.robustness
        ]
        for kind in kinds
    }
    return panels(curves, "words perturbed (%)", f"test {data.config.metric}")
