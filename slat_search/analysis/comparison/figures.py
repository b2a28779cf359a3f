"""Figures over runs: what is attained on each task, and mean ranks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..drawing import BASELINE, FOUND, GRAY, Mark, Panel, subplots
from ..fronts import attainment
from .compared import Compared, all_rows


def attained(runs: Sequence[Compared]) -> list[Panel]:
    """Quality over parameters that half of the seeds reach, found structures and baselines; thin: all and any seed. A
    panel a task."""
    return [
        partial(_attained, runs=[run for run in runs if run.dataset == name])
        for name in dict.fromkeys(run.dataset for run in runs)
    ]


def _attained(axis: Axes, _: int, runs: Sequence[Compared]) -> list[Mark]:
    rows = all_rows(runs)
    rows = rows[~rows["ceiling"]]
    right = rows["params"].max() * 1.3
    for family, colour, label in (("slat", FOUND, "found structures"), ("baseline", BASELINE, "baselines")):
        chosen = rows[(rows["family"] == family) | (rows["params"] == 0)]
        sets = [part for _, part in chosen.groupby("seed")]
        low, middle, high = (_steps(attainment(sets, share), right) for share in (1.0, 0.5, 1 / len(sets)))
        style = "-" if family == "slat" else "--"
        axis.step(*middle, style, where="post", color=colour, lw=2, label=label)
        for edge in (low, high) if len(sets) > 1 else ():
            axis.step(*edge, style, where="post", color=colour, lw=0.8, alpha=0.5)
    axis.set_xscale("symlog", linthresh=300)
    axis.set_title(runs[0].dataset, loc="left")
    axis.set_xlabel("adapter parameters")
    axis.set_ylabel(f"test {runs[0].metric}")
    axis.legend(frameon=False, loc="lower right")
    return []


def _steps(corners: Any, right: float) -> tuple[list[float], list[float]]:
    """Corners of a surface as a line to the right edge."""
    params, quality = corners[:, 0].tolist(), corners[:, 1].tolist()
    return [*params, right], [*quality, quality[-1]]


def mean_ranks(summary: dict[str, Any]) -> Figure:
    """Methods on the axis of mean ranks, with the length of the critical difference where there is one."""
    found = pd.Series(summary["mean_ranks"]).sort_values()
    figure, axis = subplots(1, 1, (6, 0.32 * len(found) + 1.2))
    heights = range(len(found), 0, -1)
    for height, (method, rank) in zip(heights, found.items(), strict=True):
        colour = FOUND if str(method).startswith("SLAT") else BASELINE
        axis.plot(rank, height, "o" if colour == FOUND else "s", color=colour)
        axis.annotate(f"{method} ({rank:.1f})", (rank, height), xytext=(7, -3), textcoords="offset points", fontsize=11)
    width = summary["critical_difference"]
    if width:
        axis.plot([found.iloc[0], found.iloc[0] + width], [len(found) + 0.8] * 2, color=GRAY, lw=3)
        axis.annotate(
            "no difference from the first within this", (found.iloc[0], len(found) + 1.05), fontsize=10.5, color=GRAY
        )
    axis.set_yticks([])
    axis.set_ylim(0.3, len(found) + 1.8)
    axis.set_xlim(found.min() - 0.3, max(found.max(), found.iloc[0] + (width or 0)) + 2.2)
    axis.set_xlabel(f"mean rank over {summary['tasks']} tasks (1 is best)")
    axis.spines["left"].set_visible(False)
    figure.tight_layout()
    return figure
