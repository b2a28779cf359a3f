"""Tests and intervals for methods that were trained on the same tasks with the same seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

_DRAWS = 5000
_DRAWS_OF_TEXTS = {"accuracy": 1000}  # by metric; others are computed draw by draw
_FEWER_DRAWS = 200
_EXACT = 14  # pairs up to which every change of signs is tried


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """Central 95 % interval of bootstrap draws."""
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def draws_for(metric: str) -> int:
    """Draws of a bootstrap over texts and seeds whose quality is a metric."""
    return _DRAWS_OF_TEXTS.get(metric, _FEWER_DRAWS)


def mean_interval(values: Sequence[float] | np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean; nan where there is but one value."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float("nan"), float("nan")
    return interval(np.random.default_rng(seed).choice(values, (_DRAWS, len(values))).mean(axis=1))


def sign_flip_test(differences: Sequence[float] | np.ndarray, seed: int = 0) -> float:
    """Two-sided p of the hypothesis that each paired difference is as likely with the other sign.

    Exact for few pairs, by 9,999 random changes of signs for many. With n pairs it cannot be below 2 / 2^n.
    """
    differences = np.asarray(differences, dtype=float)
    if len(differences) < 2 or not differences.any():
        return 1.0
    resamples = np.inf if len(differences) <= _EXACT else 9999
    rng = np.random.default_rng(seed)
    found = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=resamples, vectorized=True, rng=rng
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p values corrected for their number, which keeps the chance of any false rejection (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def ranks(qualities: np.ndarray) -> np.ndarray:
    """Rank of each method on each task, 1 for the best, ties share their mean; (tasks, methods) like the input."""
    return scipy.stats.rankdata(-np.asarray(qualities), axis=1)


def friedman(qualities: np.ndarray) -> float:
    """p of the hypothesis that all methods are alike over tasks (Friedman 1937); needs 3 of both.

    Args:
        qualities: (tasks, methods).
    """
    return float(scipy.stats.friedmanchisquare(*np.asarray(qualities).T).pvalue)


def critical_difference(methods: int, tasks: int, level: float = 0.05) -> float:
    r"""Nemenyi's critical difference of mean ranks, :math:`q_\alpha \sqrt{k (k + 1) / 6 N}` (Demsar 2006)."""
    q = scipy.stats.studentized_range.ppf(1 - level, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * tasks)))
