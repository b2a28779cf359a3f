"""Figures over runs: what is attained on each task, and mean ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ..drawing import BASELINE, FOUND, GRAY, subplots
from ..fronts import attainment
from .compared import Compared, all_rows


def attained(runs: Sequence[Compared]) -> Figure:
    """Quality over parameters that half of the seeds reach, found structures and baselines; bands: all and any seed."""
    names = list(dict.fromkeys(run.dataset for run in runs))
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure, axes = subplots(down, across, (4.6 * across, 3.6 * down), squeeze=False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        mine = [run for run in runs if run.dataset == name]
        rows = all_rows(mine)
        rows = rows[~rows["ceiling"]]
        right = rows["params"].max() * 1.3
        for family, colour, label in (("slat", FOUND, "found structures"), ("baseline", BASELINE, "baselines")):
            chosen = rows[(rows["family"] == family) | (rows["params"] == 0)]
            sets = [part for _, part in chosen.groupby("seed")]
            low, middle, high = (_steps(attainment(sets, share), right) for share in (1.0, 0.5, 1 / len(sets)))
            axis.step(*middle, where="post", color=colour, lw=2, label=label)
            for edge in (low, high) if len(sets) > 1 else ():
                axis.step(*edge, where="post", color=colour, lw=0.8, alpha=0.5)
        axis.set_xscale("symlog", linthresh=300)
        axis.set_title(name, loc="left")
        axis.set_xlabel("trained parameters")
        axis.set_ylabel(f"test {mine[0].metric}")
        axis.grid(alpha=0.25)
    axes[0][0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.tight_layout()
    return figure


def _steps(corners: Any, right: float) -> tuple[list[float], list[float]]:
    """Corners of a surface as a line to the right edge."""
    params, quality = corners[:, 0].tolist(), corners[:, 1].tolist()
    return [*params, right], [*quality, quality[-1]]


def mean_ranks(summary: dict[str, Any]) -> Figure:
    """Methods on the axis of mean ranks, with the length of the critical difference where there is one."""
    found = pd.Series(summary["mean_ranks"]).sort_values()
    figure, axis = subplots(1, 1, (7.5, 0.32 * len(found) + 1.2))
    heights = range(len(found), 0, -1)
    for height, (method, rank) in zip(heights, found.items(), strict=True):
        colour = FOUND if str(method).startswith("SLAT") else BASELINE
        axis.plot(rank, height, "o" if colour == FOUND else "s", color=colour)
        axis.annotate(f"{method} ({rank:.1f})", (rank, height), xytext=(7, -3), textcoords="offset points", fontsize=9)
    width = summary["critical_difference"]
    if width:
        axis.plot([found.iloc[0], found.iloc[0] + width], [len(found) + 0.8] * 2, color=GRAY, lw=3)
        axis.annotate(
            "no difference from the first within this", (found.iloc[0], len(found) + 1.05), fontsize=8, color=GRAY
        )
    axis.set_yticks([])
    axis.set_ylim(0.3, len(found) + 1.8)
    axis.set_xlim(found.min() - 0.3, max(found.max(), found.iloc[0] + (width or 0)) + 2.2)
    axis.set_xlabel(f"mean rank over {summary['tasks']} tasks (1 is best)")
    axis.spines["left"].set_visible(False)
    figure.tight_layout()
    return figure
