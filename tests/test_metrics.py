from __future__ import annotations

import numpy as np
import pytest

from slat_search.config.task import RESPONSE
from slat_search.metrics import (
    METRICS,
    calibration_error,
    majority_quality,
    quality,
)

LABELS = np.array([0, 0, 0, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("metric", [m for m in METRICS if m not in RESPONSE])
def test_perfect_and_constant_predictions(metric: str) -> None:
    values = LABELS + np.linspace(0, 0.01, 8) if metric in ("pearson", "spearman") else LABELS
    assert quality(metric, values, values) == pytest.approx(1)
    assert quality(metric, values, np.zeros_like(values)) < 0.5


def test_majority() -> None:
    assert majority_quality("accuracy", LABELS, LABELS) == 5 / 8
    assert majority_quality("matthews", LABELS, LABELS) == 0
    assert majority_quality("f1", LABELS, LABELS) == pytest.approx(2 * 5 / (2 * 5 + 3))
    assert majority_quality("macro_f1", LABELS, LABELS) == pytest.approx(5 / 13)
    assert majority_quality("pearson", LABELS.astype(np.float32), LABELS.astype(np.float32)) == 0


def test_f1_is_that_of_class_1() -> None:
    """One in ten is fraud: never to say so is worth nothing, always to say so is worth a little."""
    fraud = np.array([1, *[0] * 9])
    assert quality("f1", fraud, np.zeros(10, dtype=int)) == 0
    assert quality("f1", fraud, np.ones(10, dtype=int)) == pytest.approx(2 / 11)
    assert majority_quality("f1", fraud, fraud) == 0


def test_calibration_error_of_known_cases() -> None:
    correct = np.array([1, 1, 1, 0], dtype=bool)
    assert calibration_error(correct, np.full(4, 0.75)) == pytest.approx(0)
    assert calibration_error(correct, np.full(4, 1.0)) == pytest.approx(0.25)
    # two bins: at 0.95 all are right, at 0.55 one of two
    assert calibration_error(correct, np.array([0.95, 0.95, 0.55, 0.55])) == pytest.approx((2 * 0.05 + 2 * 0.05) / 4)


def test_a_calibrated_forecaster_has_a_small_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 20_000)
    assert calibration_error(rng.random(20_000) < confidence, confidence) < 0.015
    assert calibration_error(rng.random(20_000) < confidence**3, confidence) > 0.15


@pytest.mark.parametrize("metric", RESPONSE)
def test_responses_count_with_the_mean_of_what_they_are_worth(metric: str) -> None:
    assert quality(metric, np.zeros(4), np.array([1, 0, 0.5, 0])) == 0.375
