"""Hypervolume: a share of one box for every method, run and size of model."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from slat_search.analysis.hypervolume import Reference, hypervolume, hypervolume_interval, hypervolumes

BOX = Reference((0.2, 0.1), (1.0, 0.9))


def frame(rows: list[tuple[float, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["quality", "params", "quality_perturbed"])


@pytest.mark.parametrize("seed", range(5))
def test_hypervolume_against_a_grid(seed: int) -> None:
    """Share of the cells of the box that some point dominates; the points lie on the grid's corners."""
    rng = np.random.default_rng(seed)
    points = [(rng.integers(0, 11) / 10, int(rng.integers(4, 19)), rng.integers(0, 11) / 10) for _ in range(6)]
    qualities = [(0.2 + 0.8 * q, 2**size, 0.1 + 0.8 * p) for q, size, p in points]
    cells = list(product(np.arange(0.05, 1, 0.1), np.arange(4.5, 18), np.arange(0.05, 1, 0.1)))
    hit = [
        any(q > clean and size < depth and p > perturbed for q, size, p in points) for clean, depth, perturbed in cells
    ]
    assert hypervolume(frame(qualities), BOX) == pytest.approx(np.mean(hit))


@pytest.mark.parametrize(
    ("rows", "volume"),
    [
        ([(1.0, 16, 0.9)], 1.0),
        ([(1.0, 0, 0.9)], 1.0),  # fewer than 2^4 count as that many
        ([(1.0, 2**11, 0.9)], 0.5),
        ([(1.0, 2**18, 0.9)], 0.0),
        ([(1.4, 16, 0.9)], 1.5),  # better than full fine-tuning
        ([(0.2, 16, 0.9)], 0.0),
        ([(0.9, 16, 0.05)], 0.0),
        ([(0.6, 16, 0.5)], 0.25),
        ([(0.6, 16, 0.9), (1.0, 16, 0.5)], 0.75),
        ([], 0.0),
    ],
)
def test_known_volumes(rows: list[tuple[float, int, float]], volume: float) -> None:
    assert hypervolume(frame(rows), BOX) == pytest.approx(volume)


def of_methods(*rows: tuple[str, float, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["method", "quality", "params", "retained"])


def test_the_box_lies_between_the_head_and_full_fine_tuning() -> None:
    rows = of_methods(("head", 0.5, 0, 0.8), ("head", 0.7, 0, 1.0), ("lora", 0.8, 99, 0.5), ("full", 0.9, 1000, 0.9))
    box = Reference.of(rows, majority=0.3, backbone=1000)
    assert box.low == pytest.approx((0.6, 0.55))
    assert box.high == pytest.approx((0.9, 0.81))


@pytest.mark.parametrize("missing", ["head", "full", "both", "gap"])
def test_without_its_ends_the_box_begins_at_the_majority(missing: str) -> None:
    rows = of_methods(("head", 0.6, 0, 0.9), ("lora", 0.8, 99, 0.5), ("full", 0.9, 1000, 0.9))
    if missing == "gap":  # full fine-tuning is no better than the head
        rows.loc[rows["method"] == "full", "quality"] = 0.5
    else:
        rows = rows[~rows["method"].isin(["head", "full"] if missing == "both" else [missing])]
    assert Reference.of(rows, majority=0.3, backbone=1000) == Reference((0.3, 0.3), (1.0, 1.0))


def of_seeds() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"method": m, "family": f, "seed": s, "quality": 0.8 + 0.05 * rng.random(), "params": p, "retained": 0.9}
        for m, f, p in (("a", "slat", 100), ("b", "baseline", 10_000))
        for s in range(4)
    ]
    return pd.DataFrame(rows)


def test_interval_holds_the_value_and_follows_the_seed() -> None:
    rows = of_seeds()
    value, low, high = hypervolume_interval(rows, BOX, seed=1)
    assert low <= value <= high
    assert low < high
    assert hypervolume_interval(rows, BOX, seed=1) == (value, low, high)
    assert hypervolume_interval(rows[:0], BOX) == (0, 0, 0)


def test_each_family_has_its_own_and_all_have_most() -> None:
    rows = of_seeds()
    found = hypervolumes(rows, BOX)
    assert found["found"]["value"] == hypervolume_interval(rows[rows["family"] == "slat"], BOX)[0]
    assert found["found"]["value"] > found["baselines"]["value"] > 0
    assert found["all"]["value"] >= found["found"]["value"]
