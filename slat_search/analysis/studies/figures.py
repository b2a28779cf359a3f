"""Figures of the studies, in the form of those of arXiv 2509.03057: one thing changes along x, quality along y."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...config.sensitivity import SEARCHED
from ..curves import (
    CYCLE,
    Line,
    draw,
    panels,
)
from ..drawing import GRAY, subplots
from ..importance import CHANCE
from .data import Studies


def figures_of(studies: Studies) -> Iterator[tuple[str, Figure]]:
    """Draw every figure; yields its name, too. Studies without a curve have none."""
    yield "sparsity", weights(studies, "sparsity", "sparsity weight λ")
    if "sharing" in set(studies.curves["study"]):
        yield "sharing", weights(studies, "sharing", "weight of sharing κ")
    for name, label in (("noise", "noise in training (%)"), ("perturbation", "words perturbed (%)")):
        curves = {kind: _lines(studies, name, kind) for kind in studies.kinds(name)}
        if curves:
            yield name, panels(curves, label, studies.quality_label)
        for kind in studies.kinds(name) if studies.tasks else ():
            by_task = {task: _lines(studies, name, kind, task) for task in studies.tasks}
            yield f"{name}_{kind}_by_task", panels(by_task, label, "test quality")
    if len(studies.importance):
        yield "importance", importance(studies)


def _lines(studies: Studies, study: str, kind: str, task: str = "") -> list[Line]:
    return [
        Line(method, method == SEARCHED, _points(curve))
        for method in studies.methods
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


def weights(studies: Studies, study: str, label: str) -> Figure:
    """Quality and size over a weight of the search; methods that have none are level lines."""
    figure, (left, right) = subplots(1, 2, (10.5, 3.9))
    values = studies.curve(study, "weight", SEARCHED)["value"].tolist()
    ends = [-0.25, len(values) - 0.75]
    for position, method in enumerate(studies.methods):
        curve = studies.curve(study if method == SEARCHED else "sparsity", "weight", method)
        if method == SEARCHED:
            curve = _band_of_change(curve).assign(x=np.arange(len(curve)))
        elif len(curve):
            curve = pd.concat([_band_of_change(curve)] * 2).assign(x=ends)
        draw(left, Line(method, method == SEARCHED, curve), position)
        draw(right, Line(method, method == SEARCHED, _size(curve)), position)
    for axis, measure in ((left, studies.quality_label), (right, "adapter parameters (without head)")):
        axis.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axis.set_xlabel(label)
        axis.set_ylabel(measure)
        axis.grid(alpha=0.25)
    if (studies.curves["params"] == 0).any():  # the bare head
        right.set_yscale("symlog", linthresh=100)
        right.set_ylim(bottom=-20)
    else:
        right.set_yscale("log")
    right.legend(fontsize=8, frameon=False, bbox_to_anchor=(1.02, 1), loc="upper left")
    figure.tight_layout()
    return figure


def _size(curve: pd.DataFrame) -> pd.DataFrame:
    return curve.assign(quality=curve["params"], low=curve["params"], high=curve["params"])


def importance(studies: Studies) -> Figure:
    """Share of each measure's variance that a setting accounts for; the line is what chance gets."""
    measures = list(dict.fromkeys(studies.importance["measure"]))
    factors = [f for f in dict.fromkeys(studies.importance["factor"]) if f != CHANCE]
    size = (3.6 * len(measures), 0.42 * len(factors) + 1.5)
    figure, axes = subplots(1, len(measures), size, sharey=True, squeeze=False)
    for axis, measure in zip(axes[0], measures, strict=True):
        found = studies.importance[studies.importance["measure"] == measure].set_index("factor")
        _bars(axis, found.loc[factors])
        axis.axvline(found.loc[CHANCE, "high"], color=GRAY, linestyle=":", linewidth=1.2)
        axis.set_title(measure, loc="left")
        axis.set_xlabel("share of the variance")
        axis.set_xlim(0, 1)
    axes[0][0].set_yticks(range(len(factors)), [factor.replace("_", " ") for factor in factors])
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    return figure


def _bars(axis: Axes, found: pd.DataFrame) -> None:
    colours = [CYCLE[0] if matters else "#b8c0ca" for matters in found["matters"]]
    mean = found["importance"]
    error = np.clip([mean - found["low"], found["high"] - mean], 0, None)
    axis.barh(range(len(found)), mean, xerr=error, color=colours, error_kw={"linewidth": 1, "ecolor": "black"})
