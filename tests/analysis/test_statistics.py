"""Against known values, published ones and brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from slat_search.analysis.statistics import (
    critical_difference,
    friedman,
    holm,
    mean_interval,
    ranks,
    sign_flip_test,
)


@pytest.mark.parametrize("seed", range(5))
def test_sign_flips_against_every_change_of_signs(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.5, 1, size=7)
    means = [np.mean(differences * signs) for signs in product((-1, 1), repeat=7)]
    expected = np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)
    assert sign_flip_test(differences) == pytest.approx(expected)


def test_sign_flips_at_their_ends() -> None:
    assert sign_flip_test([0.1, 0.2, 0.3, 0.1]) == 2 / 2**4
    assert sign_flip_test([0.0, 0.0]) == 1.0
    assert sign_flip_test([]) == 1.0
    assert sign_flip_test([0.3]) == 1.0  # 2 / 2^1
    assert sign_flip_test(np.full(40, 0.1)) < 0.001


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2 and 0.005 x 5 in order of size, and never falling."""
    assert holm([0.01, 0.03, 0.005, 0.9, 0.02]).tolist() == pytest.approx([0.04, 0.06, 0.025, 0.9, 0.06])
    assert holm([0.4, 0.5]).tolist() == pytest.approx([0.8, 0.8])


def test_critical_difference_is_demsars() -> None:
    """Demsar 2006, section 3.2.2: 4 classifiers on 14 data sets, q 2.569, CD 1.25."""
    assert critical_difference(4, 14) == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 14)), abs=1e-3)


def test_ranks_share_ties_and_put_the_best_first() -> None:
    assert ranks(np.array([[0.9, 0.8, 0.9, 0.1]])).tolist() == [[1.5, 3, 1.5, 4]]


def test_friedman_knows_a_method_that_always_wins() -> None:
    noise = np.random.default_rng(0).normal(size=(12, 3))
    assert friedman(noise) > 0.05
    assert friedman(noise + np.array([5, 0, 0])) < 0.001


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        low, high = mean_interval(rng.normal(size=30))
        hits += low <= 0 <= high
    assert 178 <= hits <= 200
    assert np.isnan(mean_interval([0.5])).all()
