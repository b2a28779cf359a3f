"""Which factor mattered, where that is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from slat_search.analysis.importance import (
    CHANCE,
    FEWEST,
    importances,
    of_screening,
)

SPACE: dict[str, BaseDistribution] = {
    "weight": FloatDistribution(0.1, 50, log=True),
    "rate": FloatDistribution(0, 1),
    "kind": CategoricalDistribution(("a", "b")),
    "held": FloatDistribution(3, 3),
}


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "weight": np.exp(rng.uniform(np.log(0.1), np.log(50), 40)),
            "rate": rng.uniform(0, 1, 40),
            "kind": rng.choice(["a", "b"], 40),
            "held": 3.0,
            "nothing": rng.normal(size=40),
        }
    )


def test_what_made_the_measure_matters_and_the_rest_does_not(
    trials: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slat_search.analysis.importance._DRAWS", 12)
    measure = np.log(trials["weight"]) + 3 * (trials["kind"] == "b") + 0.1 * trials["nothing"]
    result = importances(trials, SPACE, {"quality": measure}).set_index("factor")
    assert list(result.index) == ["weight", "rate", "kind", CHANCE]  # what was held cannot have mattered
    assert result["matters"].to_dict() == {"weight": True, "rate": False, "kind": True, CHANCE: False}
    assert result.loc["kind", "importance"] > result.loc["weight", "importance"] > result.loc[CHANCE, "high"]
    assert (result["low"] <= result["importance"]).all()
    assert result["importance"].sum() == pytest.approx(1)


def test_a_measure_that_follows_from_nothing_names_nothing(
    trials: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slat_search.analysis.importance._DRAWS", 12)
    assert not importances(trials, SPACE, {"quality": trials["nothing"]})["matters"].any()


def test_a_measure_that_never_changes(trials: pd.DataFrame) -> None:
    result = importances(trials, SPACE, {"quality": pd.Series(0.5, index=trials.index)})
    assert (result["importance"] == 0).all()
    assert not result["matters"].any()


@pytest.mark.parametrize("completed", [0, 2, FEWEST - 1, FEWEST])
def test_of_a_few_trials_nothing_is_said(trials: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, completed: int) -> None:
    monkeypatch.setattr("slat_search.analysis.importance._DRAWS", 2)
    measures = {"quality": trials["rate"], "params": 10 * trials["weight"], "quality_perturbed": trials["rate"]}
    table = trials.assign(**measures, status=["completed" if i < completed else "failed" for i in range(len(trials))])
    assert of_screening(table, SPACE).empty == (completed < FEWEST)


def test_same_seed_same_importance(trials: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    few = trials[:10]
    monkeypatch.setattr("slat_search.analysis.importance._DRAWS", 3)
    one, two = (importances(few, SPACE, {"quality": few["rate"]}, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
