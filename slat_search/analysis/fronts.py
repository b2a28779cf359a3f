"""Pareto fronts, by moocore. Objectives: quality up, parameters down, quality under perturbation up.

The ratio of the two qualities is no objective: the linear head alone retains most of the little it has.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
import pandas as pd


def perturbed(frame: pd.DataFrame) -> pd.Series:
    """Return the quality under perturbation: ``quality_perturbed``, or else ``quality`` times what is ``retained``."""
    return frame["quality_perturbed"] if "quality_perturbed" in frame else frame["quality"] * frame["retained"]


def points(frame: pd.DataFrame) -> np.ndarray:
    """(n, 3) to be minimised: -quality, log10(params + 1), -quality under perturbation."""
    return np.column_stack(
        [
            -frame["quality"].to_numpy(float),
            np.log10(frame["params"].to_numpy(float) + 1),
            -perturbed(frame).to_numpy(float),
        ]
    )


def nondominated(frame: pd.DataFrame) -> np.ndarray:
    """Which rows are dominated by no other, (n,) of bool; equal rows all stay."""
    return moocore.is_nondominated(points(frame), keep_weakly=True)


def on_plane(frame: pd.DataFrame) -> np.ndarray:
    """Which rows no other one dominates in quality and parameters alone, (n,) of bool."""
    return moocore.is_nondominated(points(frame)[:, :2], keep_weakly=True)


def knee(frame: pd.DataFrame) -> int | None:
    """Position of the knee of the front of quality over log parameters: the point of it that lies farthest beyond the
    line between its ends, both axes scaled to the front (Das 1999). None where the front has no inner point."""
    front = np.flatnonzero(on_plane(frame))
    values = points(frame)[front, :2]
    low, high = values.min(axis=0), values.max(axis=0)
    if len(front) < 3 or (high == low).any():
        return None
    beyond = 1 - ((values - low) / (high - low)).sum(axis=1)
    return int(front[beyond.argmax()]) if beyond.max() > 1e-9 else None


def smallest_near_best(frame: pd.DataFrame, share: float = 0.01) -> int:
    """Position of the row with fewest parameters among those within ``share`` of the best quality."""
    quality, params = frame["quality"].to_numpy(float), frame["params"].to_numpy(float)
    near = np.flatnonzero(quality >= quality.max() - share * abs(quality.max()))
    return int(min(near, key=lambda i: (params[i], -quality[i])))


def attainment(sets: Sequence[pd.DataFrame], share: float) -> np.ndarray:
    """Parameters and quality that at least a ``share`` of the sets (one a seed) reach or beat together, (n, 2).

    The corners of the empirical attainment surface (Grunert da Fonseca et al. 2001).
    """
    values = np.concatenate([points(part)[:, [1, 0]] for part in sets])
    number = np.repeat(np.arange(len(sets)), [len(part) for part in sets])
    found = moocore.eaf(values, sets=number, percentiles=[100 * share])
    corners = found[np.argsort(found[:, 0])]
    return np.column_stack([10 ** corners[:, 0] - 1, -corners[:, 1]])


def choose_members(frame: pd.DataFrame, count: int) -> list[int]:
    """Positions of at most ``count`` rows of the front: the best quality, then whatever adds most hypervolume.

    Objectives are scaled to the front's own range, so that members lie apart where the front has something to tell; the
    reference is a tenth beyond its worst.

    Args:
        frame: one row a candidate, with ``quality``, ``params`` and ``quality_perturbed``.
    """
    costs = points(frame)
    front: list[int] = np.flatnonzero(moocore.is_nondominated(costs, keep_weakly=False)).tolist()
    low, high = costs[front].min(axis=0), costs[front].max(axis=0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    chosen: list[int] = []
    while front and len(chosen) < count:
        if not chosen:
            best = min(front, key=lambda i: (costs[i, 0], costs[i, 1]))
        else:
            best = max(front, key=lambda i: (moocore.hypervolume(scaled[[*chosen, i]], ref=[1.1] * 3), -i))
        chosen.append(best)
        front.remove(best)
    return chosen
