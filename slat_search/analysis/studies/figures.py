"""Figures of the studies, in the form of those of arXiv 2509.03057: one thing changes along x, quality along y."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ...config.sensitivity import SEARCHED
from ..curves import (
    NAMED,
    Line,
    curves,
)
from ..drawing import FOUND, GRAY, Mark, Panel
from ..importance import CHANCE
from .data import Studies


@dataclass(frozen=True)
class Plots:
    """Panels of one figure, with the room that each needs at its sides."""

    panels: Sequence[Panel]
    left: int = 72
    right: int = NAMED


def figures_of(studies: Studies) -> Iterator[tuple[str, Plots]]:
    """Yield the name and the panels of every figure. Studies without a curve have none."""
    yield "sparsity", weights(studies, "sparsity", "sparsity weight λ")
    if "sharing" in set(studies.curves["study"]):
        yield "sharing", weights(studies, "sharing", "weight of sharing κ")
    for name, label in (("noise", "noise in training (%)"), ("perturbation", "words perturbed (%)")):
        by_kind = {kind: _lines(studies, name, kind) for kind in studies.kinds(name)}
        if by_kind:
            yield name, _over(label, studies.quality_label, by_kind)
        for kind in studies.kinds(name) if studies.tasks else ():
            by_task = {task: _lines(studies, name, kind, task) for task in studies.tasks}
            yield f"{name}_{kind}_by_task", _over(label, "test quality", by_task)
    if len(studies.importance):
        yield "importance", importance(studies)


def _over(xlabel: str, ylabel: str, lines: dict[str, list[Line]]) -> Plots:
    """A panel a key, all on the same scale."""
    levels = [level for its in lines.values() for line in its for level in line.points["quality"]]
    room = 0.06 * (max(levels) - min(levels)) or 0.01

    def draw(axis: Axes, first: int, key: str) -> list[Mark]:
        axis.set_ylim(min(levels) - room, max(levels) + room)
        return curves(axis, first, lines[key], xlabel, ylabel, key.replace("_", " "))

    return Plots([partial(draw, key=key) for key in lines])


def _lines(studies: Studies, study: str, kind: str, task: str = "") -> list[Line]:
    return [
        Line(method, method == SEARCHED, _points(curve), color)
        for color, method in enumerate(studies.methods)
        if len(curve := studies.curve(study, kind, method, task))
    ]


def _points(curve: pd.DataFrame) -> pd.DataFrame:
    return _band_of_change(curve).assign(x=curve["value"] * 100)


def _band_of_change(curve: pd.DataFrame) -> pd.DataFrame:
    """The interval of the change from the reference, put around the curve.

    That of the level is that of a few hundred texts, the same for all settings and methods, and would hide the shape.
    """
    reference = curve["quality"] - curve["change"]
    return curve.assign(low=reference + curve["change_low"], high=reference + curve["change_high"])


def weights(studies: Studies, study: str, label: str) -> Plots:
    """Quality and size over a weight of the search; methods that have none are level lines."""
    values = studies.curve(study, "weight", SEARCHED)["value"].tolist()
    ends = [-0.25, len(values) - 0.75]
    lines = []
    for color, method in enumerate(studies.methods):
        curve = studies.curve(study if method == SEARCHED else "sparsity", "weight", method)
        if method == SEARCHED:
            curve = _band_of_change(curve).assign(x=np.arange(len(curve)))
        elif len(curve):
            curve = pd.concat([_band_of_change(curve)] * 2).assign(x=ends)
        if len(curve):
            lines.append(Line(method, method == SEARCHED, curve, color))
    sizes = [Line(line.name, line.found, _size(line.points), line.color) for line in lines]
    ticks = [f"{value:g}" for value in values]

    def of_size(axis: Axes, first: int) -> list[Mark]:
        if (studies.curves["params"] == 0).any():  # the bare head
            axis.set_yscale("symlog", linthresh=100)
        else:
            axis.set_yscale("log")
        return curves(axis, first, sizes, label, "adapter parameters", ticks=ticks)

    return Plots([partial(curves, lines=lines, xlabel=label, ylabel=studies.quality_label, ticks=ticks), of_size])


def _size(curve: pd.DataFrame) -> pd.DataFrame:
    return curve.assign(quality=curve["params"], low=curve["params"], high=curve["params"])


def importance(studies: Studies) -> Plots:
    """Share of each measure's variance that a setting accounts for; the line is what chance gets."""
    factors = [f for f in dict.fromkeys(studies.importance["factor"]) if f != CHANCE]

    def bars(axis: Axes, first: int, measure: str) -> list[Mark]:
        found = studies.importance[studies.importance["measure"] == measure].set_index("factor")
        axis.axvline(float(found["high"][CHANCE]), color=GRAY, linestyle=":", linewidth=1.2)
        for place, row in enumerate(found.loc[factors].to_dict("records")):
            mean, color = row["importance"], FOUND if row["matters"] else GRAY
            error = np.clip([[mean - row["low"]], [row["high"] - mean]], 0, None)
            axis.barh(place, mean, color=color, gid=f"mark-{first + place}")
            axis.errorbar(mean, place, xerr=error, fmt="none", ecolor="black", elinewidth=1)
        axis.set_title(measure, loc="left")
        axis.set_xlabel("share of the variance")
        axis.set_xlim(0, 1)
        axis.set_yticks(range(len(factors)), [factor.replace("_", " ") for factor in factors])
        axis.invert_yaxis()
        shown = zip(factors, found.loc[factors, "importance"], strict=True)
        return [
            Mark((factor.replace("_", " "), f"{share:.0%} of the variance of {measure}")) for factor, share in shown
        ]

    measures = dict.fromkeys(studies.importance["measure"])
    return Plots([partial(bars, measure=str(measure)) for measure in measures], left=140, right=16)
