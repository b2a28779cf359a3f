"""Small multiples of quality curves with bands: one panel a kind, one line a method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .drawing import BASELINE, FOUND, subplots

#: Okabe and Ito's colors
CYCLE = (FOUND, BASELINE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*X"
_ACROSS = 3  # panels in a row, while there are no more
_TICKS = 7  # at the values themselves, while there are no more


@dataclass(frozen=True)
class Line:
    """One method's curve.

    Attributes:
        name: in the legend.
        found: by a search; drawn solid, and others dashed.
        points: ``x quality low high``; no band where low and high are missing.
    """

    name: str
    found: bool
    points: pd.DataFrame


def panels(curves: Mapping[str, list[Line]], xlabel: str, ylabel: str) -> Figure:
    """One panel a key, all on the same scale; bands are from low to high."""
    columns = min(len(curves), max(_ACROSS, math.ceil(math.sqrt(len(curves)))) if len(curves) != 4 else 2)
    rows = -(-len(curves) // columns)
    size = (4.6 * columns + 1.6, 3.7 * rows)
    figure, axes = subplots(rows, columns, size, sharey=True, squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_axis_off()
    for axis, (title, lines) in zip(axes.flat, curves.items(), strict=False):
        for position, line in enumerate(lines):
            draw(axis, line, position)
        axis.set_title(title.replace("_", " "), loc="left")
        axis.set_xlabel(xlabel)
        axis.grid(alpha=0.25)
        values = sorted({x for line in lines for x in line.points["x"]})
        if len(values) <= _TICKS:
            axis.set_xticks(values, [f"{value:g}" for value in values])
    for row in axes:
        row[0].set_ylabel(ylabel)
    axes[0][-1].legend(fontsize=8, frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.tight_layout()
    return figure


def draw(axis: Axes, line: Line, position: int) -> None:
    """One curve in the colour and marker of its ``position``."""
    points, colour = line.points, CYCLE[position % len(CYCLE)]
    axis.plot(
        points["x"],
        points["quality"],
        "-" if line.found else "--",
        color=colour,
        marker=MARKERS[position % len(MARKERS)],
        markersize=4,
        label=line.name,
    )
    axis.fill_between(points["x"], points["low"], points["high"], color=colour, alpha=0.1, linewidth=0)


def in_percent(curve: pd.DataFrame) -> pd.DataFrame:
    """A curve over ``ratio`` as points of a :class:`Line`."""
    return curve.assign(x=curve["ratio"] * 100)
