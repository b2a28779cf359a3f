"""Figures of a run."""

from __future__ import annotations

from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from . import sharing
from .choice import recommended
from .curves import NAMED, Line, curves, in_percent
from .data import RunData
from .drawing import Panel, in_rows
from .plots import histories, scatters
from .robustness import kinds_of
from .tables import found_ones


def figures_of(data: RunData, table: pd.DataFrame) -> dict[str, Figure]:
    """Draw every figure of a run; by name."""
    figures = {"pareto": in_rows(scatters(table, data))[0], "search": in_rows(histories(data), right=24)[0]}
    if panels := perturbation(data, table):
        figures["perturbation"] = in_rows(panels, right=NAMED)[0]
    best = recommended(found_ones(table), data.config.tolerance)
    if data.several and best is not None:
        panels = sharing.panels(data.structures[best["method"]], data.environment.model.layers)
        figures["sharing"] = in_rows(panels, sharing.LEFT, right=16)[0]
    return figures


def perturbation(data: RunData, table: pd.DataFrame) -> list[Panel]:
    """Test quality over perturbation ratio, a panel a kind; none where nothing of it was kept."""
    if not data.robustness:
        return []
    rows = table[table["method"].isin(data.robustness)]

    def lines(kind: str) -> list[Line]:
        return [
            Line(row["name"], row["family"] == "slat", in_percent(data.robustness[row["method"]].curve(kind)), color)
            for color, (_, row) in enumerate(rows.iterrows())
        ]

    return [
        partial(
            curves,
            lines=lines(kind),
            xlabel="words perturbed (%)",
            ylabel=f"test {data.config.metric}",
            title=kind.replace("_", " "),
        )
        for kind in kinds_of(next(iter(data.robustness.values())).sets)
    ]
