"""Panels that the page of a run, that of a search and that of a comparison share: methods, and trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .drawing import BASELINE, FONT, FOUND, GRAY, LEADER, LETTER, NAMES, Mark
from .labels import Box, labels

_FAR = 26  # from a mark to its name, that a line joins them
_KEY_LEFT, _KEY_DOWN, _KEY_LINE = 40, 52, 19  # of the key, from the corner of the axes
_COLUMN = 190


@dataclass(frozen=True)
class Point:
    """One method.

    Attributes:
        name: beside the point.
        params: trained parameters; 0 stands at the left edge of the logarithmic axis.
        value: on the upright axis, with ``low`` and ``high`` as its error bar.
        found: by a search.
        details: lines that are shown when it is pointed at.
        target: id of an element of the page that a click leads to.
    """

    name: str
    params: float
    value: float
    low: float
    high: float
    found: bool
    details: Sequence[str] = ()
    target: str = ""


@dataclass(frozen=True)
class Progress:
    """One trial.

    Attributes:
        name: of the trial.
        steps, values: of its reports.
        stopped: by the scheduler.
        chosen: to be trained again.
        details: lines that are shown when it is pointed at.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    stopped: bool
    chosen: bool
    details: Sequence[str]


def scatter(axis: Axes, first: int, points: Sequence[Point], ylabel: str) -> list[Mark]:
    """Draw quality over parameters, a mark a method; the steps are the best value that so many parameters reach."""
    middles = [(log_size(point.params), point.value) for point in points]
    for number, ((x, y), point) in enumerate(zip(middles, points, strict=True), first):
        bar = np.nan_to_num([[y - point.low], [point.high - y]])
        shape, color = ("o", FOUND) if point.found else ("s", BASELINE)
        axis.errorbar(x, y, bar, fmt=shape, color=color, markersize=9, elinewidth=1.2, gid=f"mark-{number}", zorder=3)
    axis.margins(0.05, 0.08)
    ordered = sorted(middles)
    right = axis.get_xlim()[1]
    best = np.fmax.accumulate([y for _, y in ordered])
    places, levels = [*(x for x, _ in ordered), right], [*best, best[-1]]
    axis.step(places, levels, where="post", color=GRAY, linewidth=1.2, zorder=2)
    axis.set_xlim(axis.get_xlim()[0], right)
    ticks = sizes(*axis.get_xlim())
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.set(xlabel="adapter parameters", ylabel=ylabel)
    bars = [((x, point.low), (x, point.high)) for (x, _), point in zip(middles, points, strict=True)]
    flat = [((x, y), (end, y)) for x, end, y in zip(places, places[1:], levels, strict=False)]
    rises = [((x, low), (x, high)) for x, low, high in zip(places[1:], levels, levels[1:], strict=False)]
    _name(axis, first, points, middles, [*bars, *flat, *rises])
    return [Mark((p.name, *p.details), "found" if p.found else "baseline", p.target) for p in points]


def _name(
    axis: Axes,
    first: int,
    points: Sequence[Point],
    middles: Sequence[tuple[float, float]],
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    """Write names beside marks, inside the panel, and away from ``lines`` where that is possible; a number stands for a
    name without room, and a key under the axis."""
    pixels = [(float(x), -float(y)) for x, y in axis.transData.transform(middles)]
    area = axis.bbox
    inside = Box(area.x0, -area.y1, area.x1 + NAMES, -area.y0)
    ends = axis.transData.transform([end for line in lines for end in line])
    thin = [Box(x - 2, -top - 2, end + 2, -y + 2) for (x, y), (end, top) in zip(ends[::2], ends[1::2], strict=True)]
    placed = labels([point.name for point in points], pixels, inside, LETTER, thin)
    key = []
    for number, (label, (x, y), middle, point) in enumerate(zip(placed, pixels, middles, points, strict=True), first):
        look: dict[str, Any] = {"color": FOUND if point.found else BASELINE, "gid": f"mark-{number}", "fontsize": FONT}
        offset = (label.x - x, y - label.y)
        far = abs(offset[1] + 5) > _FAR or abs(offset[0]) > _FAR
        named = axis.annotate(
            label.text,
            middle,
            offset,
            textcoords="offset points",
            ha="right" if label.left else "left",
            arrowprops={**LEADER, "color": GRAY} if far else None,
            **look,
        )
        if named.arrow_patch is not None:
            named.arrow_patch.set_gid(look["gid"])
        if label.text != point.name:
            key.append((int(label.text), f"{label.text}  {point.name}", look))
    write_key(axis, [(words, look) for _, words, look in sorted(key, key=itemgetter(0))])


def write_key(axis: Axes, entries: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Write the entries of a key under the axis, in two columns where they are short."""
    columns = 2 if all(LETTER * len(words) < _COLUMN for words, _ in entries) else 1
    for place, (words, look) in enumerate(entries):
        row, column = divmod(place, columns)
        offset = (column * _COLUMN - _KEY_LEFT, -_KEY_DOWN - row * _KEY_LINE)
        axis.annotate(words, (0, 0), offset, xycoords="axes fraction", textcoords="offset points", va="top", **look)


def history(
    axis: Axes, first: int, trials: Sequence[Progress], last: int, ylabel: str, counts: bool = False
) -> list[Mark]:
    """Draw the trials of a search over their steps, a line a trial; what was stopped ends in a cross.

    Args:
        last: step at which a trial is finished.
        counts: values are numbers of parameters, on a logarithmic axis.
    """
    ordered = sorted(trials, key=lambda trial: (trial.chosen, not trial.stopped))  # what was chosen lies on top
    for number, trial in enumerate(ordered, first):
        color = FOUND if trial.chosen else GRAY if trial.stopped else "black"
        values = [log_size(value) for value in trial.values] if counts else trial.values
        look: dict[str, Any] = {"color": color, "gid": f"mark-{number}"}
        axis.plot(trial.steps, values, linewidth=9, alpha=0, **look)  # easier to hit
        axis.plot(trial.steps, values, linewidth=1.6, **look)
        axis.plot(trial.steps[-1:], values[-1:], "x" if trial.stopped else "o", fillstyle="none", markersize=7, **look)
    axis.set_xlim(0, 1.03 * last)
    if counts:
        places = sizes(*axis.get_ylim())
        axis.set_yticks(list(places), list(places.values()))
    axis.set(xlabel="training step", ylabel=ylabel)
    return [Mark((trial.name, *trial.details)) for trial in ordered]


def sizes(low: float, high: float) -> dict[float, str]:
    """Powers of ten between two places on a :func:`log_size` axis, and 0 where it is reached."""
    powers = (10**power for power in range(1, math.ceil(high) + 1))
    found = {0.0: "0"} if low < 0 else {}
    return found | {place: _short(number) for number in powers if low <= (place := log_size(number)) <= high}


def log_size(params: float) -> float:
    """Where a number of parameters stands on a logarithmic axis that has a place for 0."""
    return math.log10(params + 1)


def _short(number: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (1000, "k")):
        if number >= size:
            return f"{number // size}{letter}"
    return str(number)
