"""Pareto fronts and hypervolume, by moocore. Objectives: quality up, parameters down, retained quality up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import pandas as pd

COLUMNS = ("quality", "params", "retained")


@dataclass(frozen=True)
class Reference:
    """The point that hypervolume is measured from; fixed for a task and a model.

    Attributes:
        quality: that of always saying the most frequent label.
        params: size of the backbone.
        retained: 0, always.
    """

    quality: float
    params: int
    retained: float = 0.0


def points(frame: pd.DataFrame) -> np.ndarray:
    """(n, 3) to be minimised: -quality, log10(params + 1), -retained."""
    return np.column_stack(
        [
            -frame["quality"].to_numpy(float),
            np.log10(frame["params"].to_numpy(float) + 1),
            -frame["retained"].to_numpy(float),
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


def hypervolume(frame: pd.DataFrame, reference: Reference) -> float:
    """Share of the box between the reference and the ideal (quality 1, 1 parameter, all retained), 0 to 1."""
    if frame.empty:
        return 0.0
    depth = np.log10(reference.params + 1)
    volume = moocore.hypervolume(points(frame), ref=[-reference.quality, depth, -reference.retained])
    return float(volume / ((1 - reference.quality) * depth * (1 - reference.retained)))


def choose_members(frame: pd.DataFrame, count: int) -> list[int]:
    """Positions of at most ``count`` rows of the front: the best quality, then whatever adds most hypervolume.

    Here the front is over quality, parameters and quality under perturbation, each scaled to the front's own range,
    so that members lie apart where the front has something to tell; the reference is a tenth beyond its worst.

    Args:
        frame: one row a candidate, with ``quality``, ``params`` and ``quality_perturbed``.
    """
    costs = np.column_stack(
        [-frame["quality"], np.log10(frame["params"].to_numpy(float) + 1), -frame["quality_perturbed"]]
    )
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


def hypervolumes(results: pd.DataFrame, reference: Reference, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return the hypervolumes of found structures, of baselines and of all, each with its interval over seeds.

    The linear head alone belongs to each of them: it is the end of every front, and costs nothing. Full fine-tuning has
    the parameters of the reference, so it adds nothing to any.

    Args:
        results: one row a method and seed, with ``family``, ``method``, ``seed`` and the objectives.
    """
    out = {}
    for name, families in (("found", ["slat"]), ("baselines", ["baseline"]), ("all", ["slat", "baseline"])):
        part = results[results["family"].isin(families) | (results["params"] == 0)]
        value, low, high = hypervolume_interval(part, reference, seed)
        out[name] = {"value": value, "low": low, "high": high}
    return out


def hypervolume_interval(
    frame: pd.DataFrame, reference: Reference, seed: int = 0, draws: int = 1000
) -> tuple[float, float, float]:
    """Hypervolume of the means over seeds, with a 95 % bootstrap interval over seeds.

    Args:
        frame: one row a method and seed, with ``method``, ``seed`` and the objectives.
    """

    def value(rows: pd.DataFrame) -> float:
        return hypervolume(rows.groupby("method", as_index=False)[list(COLUMNS)].mean(), reference)

    if frame.empty:
        return 0.0, 0.0, 0.0
    rng = np.random.default_rng(seed)
    seeds: Sequence[int] = sorted(frame["seed"].unique())
    by_seed = {s: frame[frame["seed"] == s] for s in seeds}
    combinations: dict[tuple[int, ...], float] = {}
    values = []
    for _ in range(draws):
        drawn = tuple(sorted(rng.choice(seeds, len(seeds)).tolist()))
        if drawn not in combinations:
            combinations[drawn] = value(pd.concat([by_seed[s] for s in drawn]))
        values.append(combinations[drawn])
    low, high = np.quantile(values, [0.025, 0.975])
    return value(frame), float(low), float(high)
