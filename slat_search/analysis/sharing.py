"""Which tasks share what: overlaps, a dendrogram, and how much has one user, two, or all."""

from __future__ import annotations

import textwrap
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from .drawing import FOUND, Mark, Panel
from .shared import units

LEFT = 108  # room for the names of tasks
_LONGEST = 13  # letters of a name there
_STRONGEST = 0.5  # opacity of a cell, on which ink can still be read


def overlap(structure: dict[str, Any]) -> pd.DataFrame:
    """Jaccard index of the parameters used by two tasks, one row and column per task."""
    tasks, found = structure["tasks"], units(structure)

    def share(one: str, two: str) -> float:
        both = found["cost"][found[one] & found[two]].sum()
        either = found["cost"][found[one] | found[two]].sum()
        return float(both / either) if either else 1.0

    return pd.DataFrame([[share(one, two) for two in tasks] for one in tasks], index=tasks, columns=tasks)


def by_block(structure: dict[str, Any], layers: int) -> pd.DataFrame:
    """Parameters used in each block, one row per task."""
    found = units(structure)
    rows = {task: found[found[task]].groupby("layer")["cost"].sum() for task in structure["tasks"]}
    return pd.DataFrame(rows).T.reindex(columns=range(layers)).fillna(0).astype(int)


def panels(structure: dict[str, Any], layers: int) -> list[Panel]:
    """Parameters by task and block, and the tasks' dendrogram by what they do not share (average linkage)."""
    return [partial(_blocks, heights=by_block(structure, layers)), partial(_tree, overlaps=overlap(structure))]


def _blocks(axis: Axes, first: int, heights: pd.DataFrame) -> list[Mark]:
    """Draw a cell a task and block; ink and opacity follow the page, light or dark."""
    most = max(1, heights.to_numpy().max())
    marks: list[Mark] = []
    for (row, column), value in np.ndenumerate(heights.to_numpy()):
        gid = f"mark-{first + len(marks)}"
        shade = _STRONGEST * (value / most) ** 0.5
        axis.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=FOUND, alpha=shade, linewidth=0, gid=gid))
        axis.text(column, row, _short(value), ha="center", va="center", fontsize=10.5, color="black", gid=gid)
        marks.append(Mark((str(heights.index[row]), f"block {column}: {value:,} parameters"), "cell"))
    axis.set_xlim(-0.5, heights.shape[1] - 0.5)
    axis.set_ylim(len(heights) - 0.5, -0.5)
    axis.set_yticks(
        range(len(heights)), [textwrap.shorten(str(task), _LONGEST, placeholder="…") for task in heights.index]
    )
    axis.set_xticks(range(heights.shape[1]))
    axis.set_xlabel("block")
    axis.set_title("parameters that a task uses", loc="left")
    axis.grid(False)
    return marks


def _tree(axis: Axes, _: int, overlaps: pd.DataFrame) -> list[Mark]:
    apart = 1 - overlaps.to_numpy()
    np.fill_diagonal(apart, 0)
    if apart.any():
        joined = linkage(squareform(apart, checks=False), "average")
        names = [textwrap.shorten(str(task), _LONGEST, placeholder="…") for task in overlaps.index]
        dendrogram(joined, labels=names, orientation="left", ax=axis, color_threshold=0, above_threshold_color=FOUND)
        axis.tick_params(axis="y", labelsize=12.5)
        axis.tick_params(axis="x", labelsize=12.5)
        axis.yaxis.set_ticks_position("left")
    else:
        axis.text(0.5, 0.5, "all tasks use the same", ha="center", va="center", transform=axis.transAxes)
        axis.set_yticks([])
    axis.set_xlim(0, 1.02)
    axis.set_xlabel("share of parameters not in common")
    axis.set_title("which tasks are alike", loc="left")
    return []


def _short(value: int) -> str:
    return f"{value / 1000:.1f}k" if value >= 10_000 else f"{value:,}" if value else ""
