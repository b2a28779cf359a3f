"""A trial of a static search trains the structure that was sampled, and nothing else."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from optuna.distributions import CategoricalDistribution

from slat_search.search.space import SearchSpace
from slat_search.structure import Site, Structure
from slat_search.training.context import Context
from slat_search.training.sampled_structure import sampled_structure, sizes
from slat_search.training.trial import search_trial
from tests.conftest import small_config
from tests.whole import finish, start

STATIC = small_config(search={"method": "static", "trials": 4, "num_selected": 2, "refit_learning_rates": [0.003]})
OFF = {f"layer_{layer}": 0 for layer in range(6)}
NOTHING = {"spectral_size": 0, "lora_size": 0, "parallel_size": 0, "serial_size": 0, "norm_size": 0, "bias_size": 0}
SAMPLED = {**OFF, **NOTHING, "learning_rate": 3e-3, "noise_kind": "none", "noise_ratio": 0.0}


@pytest.fixture
def static(context: Context) -> Context:
    return replace(context, config=STATIC)


def test_the_space_is_blocks_and_sizes() -> None:
    space = SearchSpace.of(STATIC, 20_000_000, layers=6).distributions
    assert set(space) == set(SAMPLED)
    lora = space["lora_size"]
    assert isinstance(lora, CategoricalDistribution)
    assert lora.choices == (0, 1, 2, 4)
    uneven = small_config(space={"kinds": {"lora": {"size": 6}, "bias": {"size": 0}}})
    assert sizes(uneven) == {"lora_size": [0, 1, 2, 4, 6]}


def test_what_is_sampled_is_what_stands(static: Context, sites: tuple[Site, ...]) -> None:
    sampled = {**SAMPLED, "layer_1": 1, "layer_4": 1, "lora_size": 2, "bias_size": 1}
    structure = sampled_structure(STATIC, sites, sampled)
    chosen = [site for site in sites if site.layer in (1, 4)]
    expected = Structure.at(chosen, "lora", 2, scale=2.0) | Structure.at(chosen, "bias", 1)
    assert structure.modules == expected.modules
    *_, last = search_trial(static, sampled, [4])
    assert last["structure"] == structure
    trained = sum(v.size for name, v in last["state"].items() if name.startswith("adapter"))
    assert last["params"] == structure.params == trained


def test_a_sampled_core_is_whole(sites: tuple[Site, ...]) -> None:
    config = small_config(space={"kinds": {"spectral": {"size": 8}}})
    assert sizes(config) == {"spectral_size": [0, 1, 2, 4, 8]}
    result = sampled_structure(config, sites, {**OFF, "layer_3": 1, "spectral_size": 4})
    assert result == Structure.cores([site for site in sites if site.layer == 3], 4, scale=config.space.scale)


@pytest.mark.parametrize("sampled", [{}, {"layer_2": 1}, {"lora_size": 4}])
def test_nothing_is_the_bare_head(static: Context, sampled: dict[str, int]) -> None:
    *_, last = search_trial(static, {**SAMPLED, **sampled}, [])
    assert not last["structure"].modules
    assert last["params"] == 0
    assert last["quality"] > 0.2


def test_left_at_a_rung_and_gone_on_with_is_never_left(static: Context) -> None:
    sampled = {**SAMPLED, "layer_3": 1, "serial_size": 2, "norm_size": 1}
    first, _, last = search_trial(static, sampled, [3, 6])
    trial = search_trial(static, sampled, [3, 6])
    report = next(trial)
    file = io.BytesIO()
    torch.save(report["checkpoint"], file)
    trial.close()
    checkpoint = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    *_, again = search_trial(static, sampled, [3, 6], checkpoint)
    assert report["loss"] == first["loss"]
    assert all((last["state"][name] == value).all() for name, value in again["state"].items())


@pytest.mark.slow
def test_a_whole_run_of_a_static_search(tmp_path: Path) -> None:
    (tmp_path / "static.yaml").write_text(STATIC.to_yaml())
    output = finish(start(tmp_path / "static.yaml", tmp_path / "run"))
    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    assert {"layer_0", "lora_size"} <= set(trials)
    assert "starts: blocks " in output
    assert "layer 0" in (tmp_path / "run" / "report.html").read_text()
