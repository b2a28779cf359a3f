"""The grids of the sensitivity studies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from pydantic import ValidationError

from slat_search.comparison.contenders import baseline_contenders
from slat_search.comparison.sensitivity import (
    noise_points,
    search_contender,
    sharing_points,
    sparsity_points,
)
from tests.conftest import small_config
from tests.training.test_pool import several

CONFIG = small_config(
    seeds=3,
    sensitivity={
        "weights": [0, 0.1, 5, 5],
        "weight": 1,
        "noise_kinds": ["mixed", "label"],
        "noise_ratios": [0.2, 0, 0.1],
        "learning_rates": [0.002, 0.004],
    },
)
TUNED = [(c, c.grid[-1]) for c in (search_contender(CONFIG), *baseline_contenders(CONFIG))]


def test_every_weight_stands_once_for_each_seed_and_baselines_have_none() -> None:
    points = list(sparsity_points(CONFIG, TUNED))
    searched = Counter((p.value, job.seed) for p, job in points if p.method == "SLAT")
    assert searched == Counter((weight, seed) for weight in (0, 0.1, 1, 5) for seed in range(3))
    assert all(job.options["sparsity"] == p.value for p, job in points if p.method == "SLAT")
    others = Counter((p.method, p.value) for p, _ in points if p.method != "SLAT")
    assert others == {("LoRA r=2", None): 3, ("linear head", None): 3}


def test_every_ratio_stands_once_for_each_method_kind_and_seed() -> None:
    points = list(noise_points(CONFIG, TUNED))
    settings = Counter((p.method, p.kind, p.value, job.seed) for p, job in points)
    assert set(settings.values()) == {1}
    assert len(settings) == 3 * 2 * 3 * 3
    for p, job in points:
        assert (job.noise_kind, job.noise_ratio) == ((p.kind, p.value) if p.value else ("none", 0.0))
    assert len({job.learning_rate for p, job in points if p.method == "SLAT"}) == 1


def test_the_reference_is_trained_once_for_all_studies_and_no_two_trainings_share_a_name() -> None:
    points = [*sparsity_points(CONFIG, TUNED), *noise_points(CONFIG, TUNED)]
    by_key: dict[str, set[str]] = {}
    for _, job in points:
        by_key.setdefault(job.key, set()).add(repr(job))
    assert all(len(jobs) == 1 for jobs in by_key.values())
    # 3 seeds of: the search at 4 weights, 2 baselines as they are, and 3 methods at 2 ratios of 2 kinds
    assert len(by_key) == 3 * (4 + 2 + 3 * 2 * 2)
    for _, tuned in TUNED:
        key = replace(tuned, seed=1).key
        assert {p.study for p, job in points if job.key == p.key == key} == {"sparsity", "noise"}


def test_several_tasks_have_a_study_of_sharing() -> None:
    held = {"weights": [0, 1], "sharings": [0, 0.5, 2], "sharing": 1, "noise_ratios": [0.2], "learning_rates": [0.002]}
    config = several(seeds=2, sensitivity=held)
    tuned = [(c, c.grid[-1]) for c in (search_contender(config), *baseline_contenders(config))]
    points = list(sharing_points(config, tuned))
    assert {p.method for p, _ in points} == {"SLAT"}
    assert Counter((p.value, job.seed) for p, job in points) == Counter(
        (k, s) for k in (0, 0.5, 1, 2) for s in range(2)
    )
    assert all(job.options["sharing"] == p.value for p, job in points)
    assert all(job.options["sparsity"] == 1 for _, job in points)
    others = [*sparsity_points(config, tuned), *noise_points(config, tuned)]
    assert {job.options["sharing"] for p, job in others if p.method == "SLAT"} == {1}
    by_key: dict[str, set[str]] = {}
    for _, job in (*points, *others):
        by_key.setdefault(job.key, set()).add(repr(job))
    assert all(len(jobs) == 1 for jobs in by_key.values())
    # 2 seeds of: the search at another weight, at 3 others of sharing; and 3 methods with noise and without
    assert len(by_key) == 2 * (1 + 3 + 3 * 2)
    assert list(sharing_points(CONFIG, TUNED)) == []
    assert all("sharing" not in job.options for _, job in sparsity_points(CONFIG, TUNED))


def test_none_is_no_kind_of_noise() -> None:
    with pytest.raises(ValidationError, match="none is no kind of noise"):
        small_config(sensitivity={"noise_kinds": ["none"]})
