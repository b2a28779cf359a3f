"""Which tasks share what: overlaps, a dendrogram, and how much has one user, two, or all."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import dendrogram, linkage
from scipy.spatial.distance import squareform

from .drawing import FOUND, subplots
from .shared import units


def overlap(structure: dict[str, Any]) -> pd.DataFrame:
    """Parameters that two tasks both use over those that either uses (Jaccard), a row and a column a task."""
    tasks, found = structure["tasks"], units(structure)

    def share(one: str, two: str) -> float:
        both = found["cost"][found[one] & found[two]].sum()
        either = found["cost"][found[one] | found[two]].sum()
        return float(both / either) if either else 1.0

    return pd.DataFrame([[share(one, two) for two in tasks] for one in tasks], index=tasks, columns=tasks)


def by_block(structure: dict[str, Any], layers: int) -> pd.DataFrame:
    """Parameters that each task uses in each block, a row a task."""
    found = units(structure)
    rows = {task: found[found[task]].groupby("layer")["cost"].sum() for task in structure["tasks"]}
    return pd.DataFrame(rows).T.reindex(columns=range(layers)).fillna(0).astype(int)


def figure(structure: dict[str, Any], layers: int) -> Figure:
    """Parameters by task and block, and the tasks' dendrogram by what they do not share (average linkage)."""
    tasks, heights = structure["tasks"], by_block(structure, layers)
    drawn, axes = subplots(1, 2, (11, 1.4 + 0.5 * len(tasks)), width_ratios=(3, 2))
    shade = axes[0].imshow(heights.to_numpy(), cmap="Blues", aspect="auto", norm=matplotlib.colors.PowerNorm(0.5))
    for (row, column), value in np.ndenumerate(heights.to_numpy()):
        dark = value > 0.5 * max(1, heights.to_numpy().max())
        colour = "white" if dark else "#111111"  # on a page black is an ink that turns light
        axes[0].text(column, row, f"{value:,}" if value else "", ha="center", va="center", fontsize=8, color=colour)
    axes[0].set_yticks(range(len(tasks)), tasks)
    axes[0].set_xticks(range(layers))
    axes[0].set_xlabel("block")
    axes[0].set_title("parameters that a task uses", loc="left", fontsize=10)
    drawn.colorbar(shade, ax=axes[0], fraction=0.03, pad=0.02)
    apart = 1 - overlap(structure).to_numpy()
    np.fill_diagonal(apart, 0)
    if apart.any():
        joined = linkage(squareform(apart, checks=False), "average")
        dendrogram(
            joined, labels=tasks, orientation="right", ax=axes[1], color_threshold=0, above_threshold_color=FOUND
        )
    else:
        axes[1].text(0.5, 0.5, "all tasks use the same", ha="center", va="center", transform=axes[1].transAxes)
        axes[1].set_yticks([])
    axes[1].set_xlim(1.02, 0)
    axes[1].set_xlabel("share of their parameters that tasks do not have in common")
    drawn.tight_layout()
    return drawn
