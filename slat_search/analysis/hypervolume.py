"""Hypervolume of fronts, by moocore, in a box that means the same for every method, run and size of model.

Parameters count on a log2 axis from 2^4 to 2^18; quality and quality under perturbation each count from that of the
linear head, 0, to that of full fine-tuning, 1. The hypervolume is the share of that box which is dominated. It can pass
1, where small adapters are better than full fine-tuning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import pandas as pd

from .fronts import perturbed
from .statistics import interval

_SMALLEST, _LARGEST = 4.0, 18.0  # log2 of parameters


@dataclass(frozen=True)
class Reference:
    """Where quality and quality under perturbation begin to count, and where they count 1.

    Attributes:
        low: both, at the bottom of the box.
        high: both, at the top.
    """

    low: tuple[float, float]
    high: tuple[float, float]

    @classmethod
    def above(cls, majority: float) -> Reference:
        """From what the most frequent label alone would have, perturbed or not, to 1."""
        return cls((majority, majority), (1.0, 1.0))

    @classmethod
    def of(cls, results: pd.DataFrame, majority: float, backbone: int) -> Reference:
        """Between the linear head and full fine-tuning; :meth:`above` the majority where one of them is missing, or
        full fine-tuning is not the better one.

        Args:
            results: rows of methods with ``quality``, ``retained`` and ``params``.
            majority: quality of the most frequent label.
            backbone: parameters of the frozen model.
        """
        both = pd.DataFrame({"clean": results["quality"], "perturbed": perturbed(results)})
        low, high = both[results["params"] == 0].mean(), both[results["params"] >= backbone].mean()
        if not (high > low).all():
            return cls.above(majority)
        return cls((float(low["clean"]), float(low["perturbed"])), (float(high["clean"]), float(high["perturbed"])))


def hypervolume(frame: pd.DataFrame, reference: Reference) -> float:
    """Return the hypervolume of rows with ``quality``, ``params``, and ``retained`` or ``quality_perturbed``.

    Fewer than 2^4 parameters count as 2^4; more than 2^18 add nothing.
    """
    if frame.empty:
        return 0.0
    low, span = np.array(reference.low), np.array(reference.high) - reference.low
    qualities = (np.column_stack([frame["quality"], perturbed(frame)]) - low) / span
    sizes = np.log2(np.maximum(frame["params"].to_numpy(float), 2**_SMALLEST))
    volume = moocore.hypervolume(np.column_stack([-qualities, sizes]), ref=[0.0, 0.0, _LARGEST])
    return float(volume / (_LARGEST - _SMALLEST))


def hypervolumes(results: pd.DataFrame, reference: Reference, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return the hypervolumes of found structures, of baselines and of all, each with its interval over seeds.

    Args:
        results: one row a method and seed, with ``family``, ``method``, ``seed`` and the objectives.
    """
    out = {}
    for name, families in (("found", ["slat"]), ("baselines", ["baseline"]), ("all", ["slat", "baseline"])):
        value, low, high = hypervolume_interval(results[results["family"].isin(families)], reference, seed)
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
        means = rows.assign(quality_perturbed=perturbed(rows)).groupby("method", as_index=False)
        return hypervolume(means[["quality", "params", "quality_perturbed"]].mean(), reference)

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
    return value(frame), *interval(np.array(values))
