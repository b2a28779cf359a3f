"""Which points a search begins with, and what earlier runs it may learn from."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slat_search import SlatError
from slat_search.config import Config, load_config
from slat_search.search.space import SearchSpace
from slat_search.search.warm_start import check_warm_start, has_read_earlier, warm_start_trials

BACKBONE = 1_000_000
EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
NARROW = {
    "sparsity": {"low": 0.1, "high": 10, "points": 3},
    "learning_rate": {"low": 0.001, "high": 0.004, "points": 2},
    "kinds": ["all"],
    "noise_kind": ["none", "mask"],
    "noise_ratio": {"low": 0.1, "high": 0.1},
}


def grid(trials: int, seed: int = 0) -> Config:
    return Config(seed=seed, search={"sampler": "grid", "trials": trials, "space": NARROW})


def test_a_grid_has_every_point_once() -> None:
    space = SearchSpace.of(grid(100), BACKBONE)
    points = space.points
    assert space.trials == len(points) == 3 * 2 * 2
    assert len({json.dumps(p, sort_keys=True) for p in points}) == 12
    assert sorted({p["sparsity"] for p in points}) == pytest.approx([0.1, 1, 10])
    assert {p["learning_rate"] for p in points} == {0.001, 0.004}  # the ends exactly
    assert {p["noise_ratio"] for p in points} == {0.1}
    assert all(p["noise_kind"] in ("none", "mask") for p in points)


def test_a_grid_is_cut_and_shuffled_by_the_seed() -> None:
    whole, cut = SearchSpace.of(grid(100), BACKBONE), SearchSpace.of(grid(5), BACKBONE)
    assert cut.points == whole.points[:5]
    assert cut.trials == 5
    assert SearchSpace.of(grid(100, seed=1), BACKBONE).points != whole.points


def test_a_sobol_search_fills_the_space_evenly() -> None:
    def points(sampler: str, seed: int = 0) -> list[dict]:
        search = {"sampler": sampler, "trials": 16, "space": NARROW}
        return list(SearchSpace.of(Config(seed=seed, search=search), BACKBONE).points)

    sampled = points("sobol")
    assert np.histogram([math.log10(s["sparsity"]) for s in sampled], bins=16, range=(-1, 1))[0].tolist() == [1] * 16
    assert [s["noise_kind"] for s in sampled].count("mask") == 8
    assert {s["noise_ratio"] for s in sampled} == {0.1}
    assert points("sobol") == sampled != points("sobol", seed=1)
    assert points("random") == []


def test_numbers_of_a_point_are_those_of_the_space() -> None:
    """YAML's 4 becomes 4.0 on the way, and no module has 4.0 units."""
    config = Config(search={"method": "static", "initial_points": [{"lora_size": 4, "layer_0": 1}]})
    (point,) = SearchSpace.of(config, BACKBONE, layers=2).points
    assert point == {"lora_size": 4, "layer_0": 1}
    assert {type(value) for value in point.values()} == {int}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (
            {"budget": 1000},
            r"search\.initial_points\.0: budget is not sampled here; sampled are sparsity, learning_rate",
        ),
        (
            {"sparsity": 1000.0},
            r"search\.initial_points\.0\.sparsity: 1000\.0 is outside of the search space \(0\.1 to 10\)",
        ),
        ({"sparsity": "none"}, r"sparsity: 'none' is outside"),
        ({"noise_kind": "drop"}, r"noise_kind: 'drop' is outside of the search space \(none, mask\)"),
    ],
)
def test_a_wrong_point_is_one_sentence(point: dict, message: str) -> None:
    with pytest.raises(SlatError, match=message):
        SearchSpace.of(Config(search={"initial_points": [point], "space": NARROW}), BACKBONE)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"sampler": "grid", "points": [{"sparsity": 1}]}, "sampler grid tries points of its own and no others"),
        ({"sampler": "random", "warm_start": ["x"]}, "sampler random learns nothing from earlier runs; tpe or gp does"),
    ],
)
def test_what_a_sampler_cannot_use_is_refused(tmp_path: Path, search: dict, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(json.dumps({"search": search}))
    with pytest.raises(SlatError, match=message):
        load_config(path)


def learning(run: Path, **fields: object) -> Config:
    config = load_config(run / "config.yaml").model_dump(mode="json")
    return Config.model_validate({**config, **fields, "search": {**config["search"], "warm_start": [str(run)]}})


def test_trials_of_an_earlier_run_are_kept_by_the_search(
    run: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "slat_search")
    config = learning(run[0], name="next", seed=7)
    check_warm_start(config)
    result = warm_start_trials(config, SearchSpace.of(config, BACKBONE), tmp_path)
    assert result
    assert all(trial.status == "completed" and trial.number < 0 for trial in result)
    assert caplog.messages == [f"search: learns from {len(result)} trials of {run[0].name}"]
    gone = config.model_copy(update={"search": config.search.model_copy(update={"warm_start": (tmp_path / "gone",)})})
    assert has_read_earlier(tmp_path)  # it was read before it went
    assert warm_start_trials(gone, SearchSpace.of(config, BACKBONE), tmp_path) == result


def test_an_earlier_run_that_trained_otherwise_is_refused(run: tuple[Path, str], tmp_path: Path) -> None:
    config = learning(run[0], training={"steps": 3})
    with pytest.raises(SlatError, match=r"cannot be compared with these: training\."):
        check_warm_start(config)
    config = config.model_copy(update={"search": config.search.model_copy(update={"warm_start": (tmp_path,)})})
    with pytest.raises(SlatError, match=r"search\.warm_start: .* is not a run folder"):
        check_warm_start(config)


def test_trials_outside_of_the_space_are_left_out(
    run: tuple[Path, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "slat_search")
    config = learning(run[0])
    trials = pd.read_csv(run[0] / "trials.csv")
    least = trials.loc[trials["status"] == "completed", "sparsity"].min()
    narrowed = config.search.space.sparsity.model_copy(update={"high": 1.001 * least})
    narrow = config.search.model_copy(update={"space": config.search.space.model_copy(update={"sparsity": narrowed})})
    space = SearchSpace.of(config.model_copy(update={"search": narrow}), BACKBONE)
    result = warm_start_trials(config, space, tmp_path)
    assert all(trial.sampled["sparsity"] <= 1.001 * least for trial in result)
    assert "more are outside of the search space" in caplog.messages[0]


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_points_of_every_experiment_lie_in_its_space(path: Path) -> None:
    config = load_config(path)
    points = SearchSpace.of(config, BACKBONE, layers=6).points
    assert len(points) >= min(len(config.search.initial_points), config.search.trials)
