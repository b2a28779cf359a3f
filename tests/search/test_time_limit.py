"""A search with a time limit begins no trial that would not end in it, and presets fill in what is not given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from pydantic import ValidationError
from ray.tune.search import Searcher

from slat_search.config import Config
from slat_search.config.mistakes import as_one, sentences
from slat_search.config.presets import PRESETS
from slat_search.records import Report
from slat_search.search.sampler import OptunaSearcher
from slat_search.search.space import SearchSpace
from slat_search.search.time_limit import TimeLimit
from slat_search.search.trial_log import Trial, TrialLog
from slat_search.structure import Structure


def trial(number: int, seconds: float, status: str = "completed") -> Trial:
    measures = {"quality": 0.5, "quality_perturbed": 0.5, "retained": 1.0, "loss": 1.0}
    return Trial(number, {}, status, (Report(step=5, params=9, atoms=9, seconds=seconds, **measures),))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        *(("90s", 90), ("30m", 1800), ("30min", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400)),
        *(("2d", 172800), ("1h 5m 3s", 3903), (45, 45), (0.5, 0.5), ("45", 45)),
    ],
)
def test_times_are_written_as_people_do(given: Any, seconds: float) -> None:
    config = Config.model_validate({"search": {"time_limit": given}})
    assert config.search.time_limit == seconds
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("given", ["soon", "2 hours", "30m2h", "-5", 0, "h"])
def test_other_times_are_one_sentence(given: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"search": {"time_limit": given}})
    assert as_one(sentences(caught.value)).startswith("search.time_limit: should be ")


def test_the_first_trial_always_runs_and_others_have_to_fit() -> None:
    now = [1000.0]  # a clock counts from any start
    limit = TimeLimit(100, 1, clock=lambda: now[0])
    assert limit.fits_another([])
    now[0] = 1500
    assert limit.fits_another([trial(0, 10, "running")])
    now[0] = 1069
    assert limit.fits_another([trial(0, 20), trial(1, 40, "stopped"), trial(2, 900, "running")])
    now[0] = 1071
    assert not limit.fits_another([trial(0, 20), trial(1, 40, "stopped")])


def test_what_earlier_starts_of_the_search_took_counts() -> None:
    trials = [trial(0, 60), trial(1, 60)]
    assert not TimeLimit(150, 1, trials, clock=lambda: 0.0).fits_another(trials)
    assert TimeLimit(150, 2, trials, clock=lambda: 0.0).fits_another(trials)  # two at a time: a minute each


def test_the_sampler_ends_but_finishes_what_was_begun(tmp_path: Path) -> None:
    ledger, now = TrialLog(tmp_path / "ledger.jsonl"), [0.0]
    space = SearchSpace({"x": FloatDistribution(0, 1)}, (), 5)

    def searcher() -> OptunaSearcher:
        limit = TimeLimit(100, 1, clock=lambda: now[0])
        return OptunaSearcher(ledger, space, {"quality": "max"}, 5, "random", seed=0, limit=limit)

    first = searcher()
    assert first.suggest("a") is not None
    assert first.suggest("b") is not None  # nothing is known of how long one takes
    measures = trial(0, 30).measures.model_dump(exclude_unset=True)
    ledger.reported(0, {**measures, "structure": Structure(()).packed()})
    ledger.over(0, "stopped")
    now[0] = 80
    assert first.suggest("c") == Searcher.FINISHED
    assert first.suggest("d") is None
    again = searcher()
    begun = again.suggest("b")
    assert begun is not None
    assert begun["number"] == 1


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_fills_in_what_is_not_given(name: str) -> None:
    preset = Config.model_validate({"preset": name})
    assert preset == Config.model_validate({"preset": name, **PRESETS[name]})
    assert Config.model_validate(preset.model_dump(mode="json")) == preset
    mine = Config.model_validate({"preset": name, "search": {"trials": 3}, "baselines": ["bitfit"]})
    assert (mine.search.trials, [b.method for b in mine.baselines], mine.seeds) == (3, ["bitfit"], preset.seeds)
    assert mine.search.num_selected == preset.search.num_selected


def test_presets_differ_and_good_is_the_default() -> None:
    trials = {name: Config.model_validate({"preset": name}).search.trials for name in PRESETS}
    assert trials["quick"] < trials["good"] == Config().search.trials < trials["best"]
    with pytest.warns(FutureWarning, match="members is called num_selected"):
        old = Config.model_validate({"preset": "best", "search": {"members": 2}})
    assert old.search.num_selected == 2
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"preset": "bset"})
    assert "did you mean best?" in as_one(sentences(caught.value))
