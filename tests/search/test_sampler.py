"""The searcher without Ray: what a killed search loses, and what it goes on with."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.utils import flatten_dict

from slat_search import SlatError
from slat_search.config.search import LEARNING
from slat_search.records import Measures
from slat_search.search.asha import RungScheduler
from slat_search.search.sampler import SAMPLERS, OptunaSearcher, unfinished_trials
from slat_search.search.space import SearchSpace
from slat_search.search.trial_log import TrialLog
from slat_search.structure import Site, Structure

SPACE = {"sparsity": FloatDistribution(0.1, 10, log=True), "noise_kind": CategoricalDistribution(("none", "mask"))}
OBJECTIVES = {"quality": "max", "params": "min"}
TRIALS, RUNG, LAST = 14, 4, 10
SITE = Site(0, "layer.0.q", "q", 8, 8)


def report(sampled: dict, step: int) -> dict:
    """What a trial with these values measures, without training."""
    sparsity = sampled["sparsity"]
    structure = Structure.lora((SITE,), r=1 + int(10 / sparsity))
    quality = 0.9 - 0.05 * math.log10(sparsity) ** 2 - 0.1 * (sampled["noise_kind"] == "mask") - 1 / (10 + step)
    measures = {"quality": quality, "quality_perturbed": quality, "retained": 1.0, "loss": 1.0 - quality}
    measures |= {"step": step, "atoms": 3, "seconds": 0.0}
    return {**measures, "params": structure.params, "structure": structure.packed()}


def run(folder: Path, sampler: str, calls: int | None = None) -> TrialLog:
    """One trial after another, as Ray would call; stops dead after so many calls of the searcher."""
    ledger = TrialLog(folder / "ledger.jsonl")
    searcher = OptunaSearcher(ledger, SearchSpace(SPACE, (), TRIALS), OBJECTIVES, LAST, sampler, seed=3)
    asha = RungScheduler([RUNG], OBJECTIVES, 2.0, folder / "rungs.jsonl")
    left = iter(range(calls)) if calls is not None else count()
    for name in map(str, range(len(unfinished_trials(ledger, TRIALS)))):
        if next(left, None) is None:
            break
        sampled = searcher.suggest(name)
        assert sampled is not None
        result = report(sampled, RUNG)
        if asha.decide(str(sampled["number"]), RUNG, result) == "CONTINUE":
            if next(left, None) is None:
                break
            searcher.on_trial_result(name, result)
            result = report(sampled, LAST)
            if next(left, None) is None:
                break
            searcher.on_trial_result(name, result)
        if next(left, None) is None:
            break
        searcher.on_trial_complete(name, result)
    return ledger


@pytest.mark.parametrize("sampler", [pytest.param(s, marks=[pytest.mark.slow] if s == "gp" else []) for s in SAMPLERS])
def test_a_search_that_is_killed_again_and_again_ends_as_if_it_were_not(tmp_path: Path, sampler: str) -> None:
    undisturbed = run(tmp_path / "a", sampler)
    assert {t.status for t in undisturbed.trials} == {"completed", "stopped"}
    for calls in (1, 2, 3, 4, 5, 7, 11, None):
        ledger = run(tmp_path / "b", sampler, calls)
    assert ledger.trials == undisturbed.trials
    assert [t.number for t in ledger.ended] == list(range(TRIALS))
    assert (tmp_path / "a" / "rungs.jsonl").read_text() == (tmp_path / "b" / "rungs.jsonl").read_text()


@pytest.mark.parametrize("sampler", [pytest.param(s, marks=[pytest.mark.slow] if s == "gp" else []) for s in SAMPLERS])
def test_killed_while_writing_any_line(tmp_path: Path, sampler: str) -> None:
    undisturbed = run(tmp_path / "a", sampler)
    text = (tmp_path / "a" / "ledger.jsonl").read_text()
    cuts = 5 if sampler == "gp" else 25  # fitting Gaussian processes takes seconds
    for size in range(0, len(text), max(1, len(text) // cuts)):
        folder = tmp_path / "b"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "ledger.jsonl").write_text(text[:size])
        shutil.copy(tmp_path / "a" / "rungs.jsonl", folder)
        assert run(folder, sampler).trials == undisturbed.trials


def test_samplers_follow_the_seed_and_learn(tmp_path: Path) -> None:
    first = {name: run(tmp_path / name, name).trials for name in SAMPLERS}
    assert first["tpe"] == run(tmp_path / "again", "tpe").trials
    assert [t.sampled for t in first["tpe"]] != [t.sampled for t in first["random"]]
    for evolving in ("nsga2", "nsga3"):  # which begin at random, but not for a whole short search
        assert [t.sampled for t in first[evolving]] != [t.sampled for t in first["random"]]
    noise = [t.sampled["noise_kind"] for t in run(tmp_path / "long", "tpe").trials]
    assert noise[-5:].count("mask") <= noise[:5].count("mask") + 1


def searcher_for(
    ledger: TrialLog, sampler: str = "tpe", trials: int = TRIALS, points: Sequence[dict] = (), **options: Any
) -> OptunaSearcher:
    space = SearchSpace(SPACE, tuple(points), trials)
    return OptunaSearcher(ledger, space, OBJECTIVES, LAST, sampler, seed=3, **options)


def finish(searcher: OptunaSearcher, count: int) -> list[dict]:
    """Let so many trials run to their end, one after another; what they sampled."""
    sampled: list[dict] = []
    for name in map(str, range(count)):
        point = searcher.suggest(name)
        sampled.append(point if isinstance(point, dict) else {})
        searcher.on_trial_complete(name, report(sampled[-1], LAST))
    return sampled


def test_points_come_first_and_are_filled_up(tmp_path: Path) -> None:
    points = [{"sparsity": 0.5, "noise_kind": "mask"}, {"noise_kind": "none"}]
    first, second, third = finish(searcher_for(TrialLog(tmp_path / "ledger.jsonl"), points=points), 3)
    assert first == {"sparsity": 0.5, "noise_kind": "mask", "number": 0}
    assert second["noise_kind"] == "none"
    assert 0.1 <= second["sparsity"] <= 10
    assert third == {**finish(searcher_for(TrialLog(tmp_path / "other.jsonl"), "random"), 3)[2], "number": 2}


@pytest.mark.parametrize("sampler", LEARNING)
def test_a_sampler_learns_from_trials_of_earlier_runs(tmp_path: Path, sampler: str) -> None:
    earlier = run(tmp_path / "earlier", "random").trials
    warm = TrialLog(tmp_path / "warm.jsonl")
    options = {"trials": 30, "earlier": [t for t in earlier if t.status == "completed"]}
    suggested = finish(searcher_for(warm, sampler, **options), 5)
    cold = finish(searcher_for(TrialLog(tmp_path / "cold.jsonl"), sampler, trials=30), 5)
    assert suggested != cold  # a cold search of 30 begins with 10 random trials
    assert [t.number for t in warm.trials] == [0, 1, 2, 3, 4]
    again = finish(searcher_for(TrialLog(tmp_path / "again.jsonl"), sampler, **options), 5)
    assert again == suggested


def test_the_study_file_mirrors_the_search(tmp_path: Path) -> None:
    ledger, journal = TrialLog(tmp_path / "ledger.jsonl"), tmp_path / "study.journal"
    searcher = searcher_for(ledger, journal=journal)
    finish(searcher, 3)
    searcher.suggest("left running")
    searcher = searcher_for(TrialLog(tmp_path / "ledger.jsonl"), journal=journal)  # killed, and gone on with
    first = searcher.suggest("again") or {}
    searcher.on_trial_complete("again", report(first, RUNG))
    study = optuna.load_study(study_name="search", storage=JournalStorage(JournalFileBackend(str(journal))))
    assert study.metric_names == ["quality", "params"]
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3 + ["PRUNED"]
    for told, trial in zip(study.trials, TrialLog(tmp_path / "ledger.jsonl").trials, strict=True):
        assert told.params == trial.sampled
        assert trial.structure is not None
        assert told.user_attrs["structure"] == trial.structure.describe()
        assert told.user_attrs["status"] == trial.status
    assert study.trials[0].values == [getattr(ledger.trials[0].measures, name) for name in OBJECTIVES]


def test_diverged_is_over_and_failed_is_tried_again(tmp_path: Path) -> None:
    ledger = TrialLog(tmp_path / "ledger.jsonl")
    searcher = OptunaSearcher(ledger, SearchSpace(SPACE, (), 2), OBJECTIVES, LAST, "tpe", seed=0)
    for name in ("a", "b"):
        assert searcher.suggest(name)
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("a", {"diverged": "the loss was not finite"})
    searcher.on_trial_complete("b", error=True)
    again = TrialLog(tmp_path / "ledger.jsonl")
    assert [(t.status, t.error) for t in again.trials] == [("diverged", "the loss was not finite"), ("failed", "")]
    assert unfinished_trials(again, 2) == [(1, again[1])]
    searcher = OptunaSearcher(again, SearchSpace(SPACE, (), 2), OBJECTIVES, LAST, "tpe", seed=0)
    assert searcher.suggest("d") == {**again.trials[1].sampled, "number": 1}


def test_reports_are_counted_once(tmp_path: Path) -> None:
    ledger = TrialLog(tmp_path / "ledger.jsonl")
    ledger.created(0, {"sparsity": 1.0, "noise_kind": "none"})
    for step in (4, 4, 10, 4):
        ledger.reported(0, report(ledger.trials[0].sampled, step))
    assert [r.step for r in TrialLog(tmp_path / "ledger.jsonl").trials[0].history] == [4, 10]


def test_measures_of_each_task_are_kept(tmp_path: Path) -> None:
    """As Ray hands a report to a searcher."""
    ledger = TrialLog(tmp_path / "ledger.jsonl")
    searcher = OptunaSearcher(ledger, SearchSpace(SPACE, (), 1), OBJECTIVES, LAST, "tpe", seed=0)
    searcher.suggest("a")
    whole = report(ledger.trials[0].sampled, 4)
    own = {name: whole[name] for name in Measures.model_fields if name in whole}
    tasks = {"one": own, "eng/two": {**own, "quality": 0.25}}
    searcher.on_trial_result("a", flatten_dict({**whole, "tasks": tasks}))
    searcher.on_trial_complete("a", flatten_dict({**report(ledger.trials[0].sampled, 10), "tasks": tasks}))
    for told in TrialLog(tmp_path / "ledger.jsonl").trials[0].history:
        assert {task: measures.quality for task, measures in told.tasks.items()} == {
            "one": own["quality"],
            "eng/two": 0.25,
        }
        assert told.row()["quality: eng/two"] == 0.25


def test_a_damaged_ledger_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text("{broken\n{}\n")
    with pytest.raises(SlatError, match=r"ledger\.jsonl, line 1: damaged"):
        TrialLog(tmp_path / "ledger.jsonl")
