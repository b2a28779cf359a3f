"""Quality curves, one named line per method; the band of a line is shown on hover."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .drawing import BASELINE, FONT, FOUND, LEADER, LETTER, Mark
from .labels import apart

#: Okabe and Ito's colors
CYCLE = (FOUND, BASELINE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
NAMED = 172  # room to the right of a panel of curves
_MARKERS = "osD^vP*X"
_TICKS = 7  # at the values themselves, while there are no more
_LEADER, _LINE, _GAP = 22, 14, 4  # of names: how far from the axes, a line of text, between two


@dataclass(frozen=True)
class Line:
    """One method's curve.

    Attributes:
        name: at its end.
        found: by a search; drawn solid, and others dashed.
        points: ``x quality low high``; no band where low and high are missing.
        color: its place in the cycle of colors, the same in all panels.
    """

    name: str
    found: bool
    points: pd.DataFrame
    color: int


def curves(
    axis: Axes, first: int, lines: Sequence[Line], xlabel: str, ylabel: str, title: str = "", ticks: Sequence[str] = ()
) -> list[Mark]:
    """Draw one panel, a mark a line.

    Args:
        ticks: names of the places 0, 1, ... along x; the values themselves by default.
    """
    for number, line in enumerate(lines, first):
        points, look = line.points, _look(line, number)
        axis.plot(points["x"], points["quality"], linewidth=9, alpha=0, **look)  # easier to hit
        axis.fill_between(
            points["x"], points["low"], points["high"], color=look["color"], alpha=0.2, lw=0, gid=f"mark-{number}-band"
        )
        style, marker = "-" if line.found else "--", _MARKERS[line.color % len(_MARKERS)]
        axis.plot(points["x"], points["quality"], style, marker=marker, markersize=5, **look)
    axis.set_title(title, loc="left")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    values = sorted({x for line in lines for x in line.points["x"]})
    if ticks:
        axis.set_xticks(range(len(ticks)), ticks)
    elif len(values) <= _TICKS:
        axis.set_xticks(values, [f"{value:g}" for value in values])
    _name(axis, first, lines)
    return [Mark(_words(line, xlabel, ticks)) for line in lines]


def _look(line: Line, number: int) -> dict[str, Any]:
    return {"color": CYCLE[line.color % len(CYCLE)], "gid": f"mark-{number}"}


def _name(axis: Axes, first: int, lines: Sequence[Line]) -> None:
    """Write names to the right, in the order in which the curves end, each joined to its end by a line."""
    letters = int((NAMED - _LEADER) / LETTER)
    names = ["\n".join(textwrap.wrap(line.name, letters)) for line in lines]
    ends = [line.points[["x", "quality"]].iloc[-1] for line in lines]
    axis.set_ylim(axis.get_ylim())  # final before names are placed
    pixels = [axis.transData.transform((float(end["x"]), float(end["quality"]))) for end in ends]
    heights = [_LINE * (1 + name.count("\n")) + _GAP for name in names]
    area = axis.bbox
    middles = apart([-float(y) for _, y in pixels], heights, -area.y1 - 10, -area.y0 + 40)
    for number, (line, name, middle, end) in enumerate(zip(lines, names, middles, pixels, strict=True), first):
        look = _look(line, number)
        offset = (area.x1 + _LEADER - end[0], -middle - end[1])
        named = axis.annotate(
            name,
            (float(ends[number - first]["x"]), float(ends[number - first]["quality"])),
            offset,
            textcoords="offset points",
            va="center",
            fontsize=FONT,
            linespacing=1.05,
            color="black",
            gid=look["gid"],
            arrowprops={**LEADER, "color": look["color"], "relpos": (0, 0.5)},
        )
        if named.arrow_patch is not None:
            named.arrow_patch.set_gid(look["gid"])


def _words(line: Line, xlabel: str, ticks: Sequence[str]) -> list[str]:
    """The name of a curve, and its values with their intervals."""
    what = xlabel.removesuffix(" (%)")
    said = [line.name]
    for point in line.points.to_dict("records"):
        place = f"{point['x']:g}{' %' if what != xlabel else ''}"
        if ticks:
            place = ticks[int(np.clip(round(point["x"]), 0, len(ticks) - 1))]
        value = f"{point['quality']:,.0f}" if point["quality"] >= 100 else f"{point['quality']:.3f}"
        band = (
            ""
            if pd.isna(point["low"]) or point["low"] == point["high"]
            else f" ({point['low']:.3f} to {point['high']:.3f})"
        )
        said.append(f"{what} {place}: {value}{band}")
    return said


def in_percent(curve: pd.DataFrame) -> pd.DataFrame:
    """A curve over ``ratio`` as points of a :class:`Line`."""
    return curve.assign(x=curve["ratio"] * 100)
