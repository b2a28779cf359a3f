from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from slat_search.analysis.fronts import (
    attainment,
    choose_members,
    knee,
    nondominated,
    on_plane,
    smallest_near_best,
)


def frame(rows: list[tuple[float, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["quality", "params", "retained"])


def random_frame(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return frame(
        [
            (float(rng.integers(2, 10)) / 10, int(10 ** rng.integers(0, 6)), float(rng.integers(1, 10)) / 10)
            for _ in range(n)
        ]
    )


def dominates(a: pd.Series, b: pd.Series) -> bool:
    perturbed = [row["quality"] * row["retained"] for row in (a, b)]
    better = [a["quality"] >= b["quality"], a["params"] <= b["params"], perturbed[0] >= perturbed[1]]
    worse = [a["quality"] > b["quality"], a["params"] < b["params"], perturbed[0] > perturbed[1]]
    return all(better) and any(worse)


@pytest.mark.parametrize("seed", range(5))
def test_nondominated_against_brute_force(seed: int) -> None:
    points = random_frame(np.random.default_rng(seed), 12)
    rows = [row for _, row in points.iterrows()]
    expected = [not any(dominates(other, row) for other in rows) for row in rows]
    assert nondominated(points).tolist() == expected


def test_the_ratio_of_a_weak_method_is_no_merit() -> None:
    """It retains all of little; the other is better, smaller, and better under perturbation, too."""
    assert nondominated(frame([(0.6, 20, 1.0), (0.9, 10, 0.8)])).tolist() == [False, True]


def test_members_are_on_the_front_lie_apart_and_the_best_is_among_them() -> None:
    rows = [(0.9, 1000), (0.95, 50_000), (0.8, 2000), (0.7, 10), (0.7001, 11), (0.94, 49_000)]
    points = pd.DataFrame(rows, columns=["quality", "params"])
    points["quality_perturbed"] = points["quality"] - 0.1
    assert choose_members(points, 3) == [1, 0, 3]
    everything = choose_members(points, 99)
    assert sorted(everything) == [0, 1, 3, 4, 5]
    assert choose_members(points.iloc[[2]], 3) == [0]


def test_knee_of_a_known_front() -> None:
    known = pd.DataFrame({"quality": [0.5, 0.88, 0.9, 0.91], "params": [0, 99, 9999, 999], "retained": 1.0})
    assert knee(known) == 1
    assert knee(known.iloc[[0, 3]]) is None
    straight = pd.DataFrame({"quality": [0.5, 0.6, 0.7], "params": [0, 9, 99], "retained": 1.0})
    assert knee(straight) is None


def test_smallest_within_one_percent() -> None:
    known = pd.DataFrame({"quality": [0.9, 0.892, 0.89], "params": [1000, 100, 10], "retained": 1.0})
    assert smallest_near_best(known) == 1
    assert smallest_near_best(known, 0.02) == 2


@pytest.mark.parametrize("attained_by", [1, 2, 3])
def test_attainment_against_brute_force(attained_by: int) -> None:
    """A point is attained by a set when some member has at most its parameters and at least its quality."""
    rng = np.random.default_rng(3)
    sets = [
        pd.DataFrame({"quality": rng.uniform(size=4), "params": rng.integers(1, 1000, size=4), "retained": 1.0})
        for _ in range(3)
    ]
    corners = attainment(sets, attained_by / 3)
    for params, quality in product((5, 50, 300, 900), (0.1, 0.4, 0.7, 0.9)):
        reached = sum(((s["params"] <= params) & (s["quality"] >= quality)).any() for s in sets)
        inside = ((corners[:, 0] <= params + 1e-6) & (corners[:, 1] >= quality)).any()
        assert inside == (reached >= attained_by), (params, quality)


def test_on_plane_knows_nothing_of_robustness() -> None:
    known = pd.DataFrame({"quality": [0.9, 0.8], "params": [10, 10], "retained": [0.1, 0.9]})
    assert on_plane(known).tolist() == [True, False]
    assert nondominated(known).tolist() == [True, True]
