"""Measures under perturbation on predictions whose qualities are known."""

from __future__ import annotations

import numpy as np
import pytest

from slat_search.analysis.robustness import (
    Predictions,
    Robustness,
    retained,
    table,
)

SETS = (("clean", 0.0), ("typos", 0.1), ("typos", 0.2), ("case", 0.2), ("case", 0.1))
TEXTS = 1000


def predictions(accuracies: tuple[float, ...], seed: int = 0, confidence: float = 0.9) -> Predictions:
    """Binary labels, of which so many are predicted on each set; texts that are easy are easy in every set."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=TEXTS)
    ease = rng.permutation(TEXTS) / TEXTS
    outputs = np.stack([np.where(ease < a, labels, 1 - labels) for a in accuracies])
    return Predictions(SETS, labels, outputs, np.full((len(SETS), TEXTS), confidence))


def test_retained_is_the_area_over_what_it_were_without_loss() -> None:
    # typos: mean height (0.8 + 2 * 0.7 + 0.6) / 4 of 0.8; case (its ratios are out of order): no loss
    assert retained(SETS, np.array([0.8, 0.7, 0.6, 0.8, 0.8])) == pytest.approx((0.7 / 0.8 + 1) / 2)
    assert retained(SETS, np.zeros((3, 5))).tolist() == [0, 0, 0]
    assert retained((("clean", 0.0),), np.array([0.8])) == 1


def test_summary_names_the_worst_case_and_its_interval() -> None:
    robustness = Robustness.of([predictions((0.9, 0.8, 0.7, 0.85, 0.9))], "accuracy")
    result = robustness.summary()
    assert result["quality"] == pytest.approx(0.9)
    assert (result["worst"], robustness.worst_at) == (pytest.approx(0.7), "typos 20%")
    for name, value in (("quality", 0.9), ("worst", 0.7)):
        width = 1.96 * np.sqrt(value * (1 - value) / TEXTS)
        assert result[f"{name}_low"] == pytest.approx(value - width, abs=0.006)
        assert result[f"{name}_high"] == pytest.approx(value + width, abs=0.006)
    assert result["retained_low"] < result["retained"] < result["retained_high"]


def test_what_sets_have_in_common_does_not_widen_what_parts_them() -> None:
    """Two sets that lose the same texts: retained quality is known better than either of them."""
    result = Robustness.of([predictions((0.6, 0.6, 0.6, 0.6, 0.6))], "accuracy").summary()
    assert (result["retained_low"], result["retained_high"]) == (1, 1)
    assert result["quality_high"] - result["quality_low"] > 0.04


def test_seeds_widen_the_interval() -> None:
    alike = [predictions((0.8,) * 5, seed) for seed in (0, 1)]
    apart = [predictions((0.7,) * 5, 0), predictions((0.9,) * 5, 1)]
    widths = []
    for seeds in (alike, apart):
        result = Robustness.of(seeds, "accuracy").summary()
        assert result["quality"] == pytest.approx(0.8)
        widths.append(result["quality_high"] - result["quality_low"])
    assert widths[1] > 2 * widths[0]


def test_curves_run_by_ratio_from_the_clean_text() -> None:
    curve = Robustness.of([predictions((0.9, 0.8, 0.7, 0.6, 0.75))], "accuracy").curve("case")
    assert curve["ratio"].tolist() == [0, 0.1, 0.2]
    assert curve["quality"].tolist() == pytest.approx([0.9, 0.75, 0.6])
    assert ((curve["low"] <= curve["quality"]) & (curve["quality"] <= curve["high"])).all()


@pytest.mark.parametrize("metric", ["f1", "matthews", "macro_f1"])
def test_other_metrics(metric: str) -> None:
    result = Robustness.of([predictions((0.9, 0.8, 0.7, 0.85, 0.9))], metric).summary()
    assert 0.3 < result["worst"] < result["quality"] < 0.95
    assert result["worst_low"] < result["worst"] < result["worst_high"]


def test_table_tells_confidence_and_calibration() -> None:
    said = {"one": [predictions((0.9, 0.8, 0.7, 0.85, 0.9), confidence=0.9)]}
    result = table(said, {"one": Robustness.of(said["one"], "accuracy")}).iloc[0]
    assert result["confidence_clean"] == result["confidence_worst"] == pytest.approx(0.9)
    assert result["calibration_error_clean"] == pytest.approx(0, abs=1e-9)
    assert result["calibration_error_worst"] == pytest.approx(0.2)
    numbers = {"one": [predictions((0.9,) * 5, confidence=float("nan"))]}
    assert np.isnan(
        table(numbers, {"one": Robustness.of(numbers["one"], "accuracy")}).iloc[0]["calibration_error_clean"]
    )
