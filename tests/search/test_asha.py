from __future__ import annotations

import math
from pathlib import Path

import moocore
import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler

from slat_search.search.asha import (
    RungScheduler,
    best_first,
    crowding_distance,
)

GO, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
BOTH = {"quality": "max", "params": "min"}


def scheduler(path: Path, objectives: dict[str, str] | None = None, factor: float = 2.0) -> RungScheduler:
    return RungScheduler([10, 20], objectives or {"quality": "max"}, factor, path / "search" / "rungs.jsonl")


def brute_force_ranks(values: np.ndarray) -> list[int]:
    """Peel fronts off by comparing every pair."""
    left, ranks, rank = set(range(len(values))), [-1] * len(values), 0
    while left:
        front = [
            i
            for i in left
            if not any((values[j] >= values[i]).all() and (values[j] > values[i]).any() for j in left if j != i)
        ]
        for i in front:
            ranks[i] = rank
        left -= set(front)
        rank += 1
    return ranks


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(8))
def test_fronts_follow_one_another_as_brute_force_peels_them_off(seed: int, objectives: int) -> None:
    """Ties and duplicates among them: a row and its copy lie on one front."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 5, (20, objectives)).astype(float)
    values = np.concatenate([values, values[rng.integers(0, 20, 5)]])
    ranks = brute_force_ranks(values)
    order = best_first(values)
    assert sorted(order) == list(range(25))
    assert [ranks[i] for i in order] == sorted(ranks)
    front = [i for i in order if ranks[i] == 0]
    distance = crowding_distance(values[sorted(front)])
    assert front == [i for _, i in sorted(zip(-distance, sorted(front), strict=True))]
    kept = moocore.is_nondominated(values, maximise=True, keep_weakly=True)
    assert np.flatnonzero(kept).tolist() == sorted(front)  # as the analysis has it


def test_crowding_of_a_known_front() -> None:
    distance = crowding_distance(np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0]]))
    assert distance.tolist() == [math.inf, 2.0, math.inf]


def test_best_first_is_front_then_crowding_then_age() -> None:
    values = np.array([[1.0, 1.0], [0.0, 4.0], [2.0, 2.0], [4.0, 0.0], [1.9, 2.1], [2.0, 2.0]])
    order = best_first(values)
    assert set(order[:2]) == {1, 3}
    assert order[-1] == 0
    assert order.index(2) < order.index(5)


@pytest.mark.parametrize("seed", range(5))
def test_one_metric_is_asha(tmp_path: Path, seed: int) -> None:
    """Continue exactly when at least as good as the best 1 / factor of the rung so far, the newcomer included."""
    values = np.random.default_rng(seed).permutation(15) / 15
    asha = scheduler(tmp_path, factor=3.0)
    for i, value in enumerate(values):
        so_far = sorted(values[: i + 1], reverse=True)
        expected = GO if value >= so_far[math.ceil((i + 1) / 3) - 1] else STOP
        assert asha.decide(f"t{i}", 10, {"quality": value}) == expected


def test_several_objectives_keep_the_sparse_trial(tmp_path: Path) -> None:
    """The worst trial in quality goes on because nothing is smaller; one metric would stop it."""
    reports = [{"quality": 0.9, "params": 9000}, {"quality": 0.8, "params": 8000}, {"quality": 0.7, "params": 50}]
    many, one = scheduler(tmp_path / "many", BOTH), scheduler(tmp_path / "one")
    assert [many.decide(str(i), 10, r) for i, r in enumerate(reports)][-1] == GO
    assert [one.decide(str(i), 10, r) for i, r in enumerate(reports)][-1] == STOP


def test_rungs_survive_a_restart(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(20).tolist()
    undisturbed = scheduler(tmp_path / "a")
    expected = [undisturbed.decide(str(i), 10, {"quality": v}) for i, v in enumerate(values)]
    decisions = []
    for i, value in enumerate(values):  # killed and restarted before every single decision
        decisions.append(scheduler(tmp_path / "b").decide(str(i), 10, {"quality": value}))
    assert decisions == expected


def test_a_trial_that_reports_again_gets_its_decision_again(tmp_path: Path) -> None:
    first = scheduler(tmp_path)
    assert first.decide("a", 10, {"quality": 0.5}) == GO
    assert first.decide("b", 10, {"quality": 0.4}) == STOP
    again = scheduler(tmp_path)
    assert again.decide("a", 10, {"quality": 0.1}) == GO
    assert len((tmp_path / "search" / "rungs.jsonl").read_text().splitlines()) == 2


def test_a_torn_last_line_is_forgotten(tmp_path: Path) -> None:
    scheduler(tmp_path).decide("a", 10, {"quality": 0.9})
    record = tmp_path / "search" / "rungs.jsonl"
    record.write_text(record.read_text() + '{"trial": "b", "st')
    again = scheduler(tmp_path)
    assert again.decide("b", 10, {"quality": 0.1}) == STOP
    assert scheduler(tmp_path).decide("b", 10, {"quality": 0.95}) == STOP


def test_results_between_rungs_change_nothing(tmp_path: Path) -> None:
    asha = scheduler(tmp_path)
    assert asha.on_trial_result(None, None, {"step": 7, "quality": 0.0}) == GO
    assert not (tmp_path / "search" / "rungs.jsonl").exists()


def test_a_trial_without_measures_is_stopped(tmp_path: Path) -> None:
    asha = scheduler(tmp_path, BOTH)
    assert asha.on_trial_result(None, None, {"diverged": "the loss was not finite"}) == STOP
    assert asha.decide("a", 10, {"quality": math.nan, "params": 3}) == STOP


@pytest.mark.parametrize(("factor", "objectives"), [(1.0, BOTH), (2.0, {}), (2.0, {"quality": "best"})])
def test_senseless_settings_are_refused(tmp_path: Path, factor: float, objectives: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="reduction_factor must be above 1"):
        RungScheduler([1], objectives, factor, tmp_path)
