"""Configurations of earlier versions: old names, removed options, and defaults that were others."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import yaml

from slat_search import SlatError
from slat_search.config import Config, load_config
from slat_search.config.section import OldNameWarning
from slat_search.files import write_listed
from slat_search.run_folder import RunFolder
from tests.test_cli import ENVIRONMENT
from tests.test_config import load


def test_old_names_are_taken_with_a_warning_and_both_names_are_not(tmp_path: Path) -> None:
    old = "search: {members: 2, weights: [own, fresh], points: [{budget: 9}]}"
    with pytest.warns(OldNameWarning, match=r"mine\.yaml: members is called num_selected now"):
        search = load(tmp_path, old).search
    assert (search.num_selected, search.final_weights) == (2, ("inherited", "retrained"))
    assert search.initial_points == ({"budget": 9},)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_config(tmp_path / "mine.yaml", stored=True).search == search
        assert Config.model_validate(yaml.safe_load(load_config(tmp_path / "mine.yaml", stored=True).to_yaml()))
    with pytest.raises(SlatError, match="search: members is the old name of num_selected; give one of them"):
        load(tmp_path, "search: {members: 2, num_selected: 3}")


def test_removed_gate_options_are_one_sentence_where_they_say_something(tmp_path: Path) -> None:
    """Configurations of earlier runs hold them at values that say nothing."""
    kept = "held_out: 0.0, groups: [], depth: 0.0, entropy: 0.0, diversity: 0.0"
    assert (
        load(tmp_path, f"gates: {{kind: saliency, redundancy_discount: 0.5, {kept}}}").gates.redundancy_discount == 0.5
    )
    for field in ("held_out: 0.2", "groups: [layer]", "depth: 0.1", "entropy: 0.1", "diversity: 0.1"):
        with pytest.raises(SlatError, match=f"gates: {field.split(':')[0]} was removed, as it gained nothing; leave"):
            load(tmp_path, f"gates: {{kind: sigmoid, {field}}}")
    with pytest.raises(
        SlatError, match="gates: kind straight_through was removed, as it gained nothing; hard_concrete"
    ):
        load(tmp_path, "gates: {kind: straight_through}")


def test_a_run_of_an_earlier_version_says_what_it_did_and_not_what_is_the_default_now(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("{task: bbc-headline, training: {steps: 9}}")
    new, kept = load_config(path), load_config(path, stored=True)
    assert (new.training.head_first, new.gates.surplus) == (0.1, 4.0)
    assert (kept.training.head_first, kept.gates.surplus, kept.training.steps) == (0.0, 1.0, 9)
    path.write_text("{task: bbc-headline, training: {head_first: 0.2}, gates: {surplus: 2}}")
    kept = load_config(path, stored=True)
    assert (kept.training.head_first, kept.gates.surplus) == (0.2, 2.0)
    folder = RunFolder(tmp_path / "old")
    folder.begin(new, ENVIRONMENT)
    lines = (folder / "config.yaml").read_text().splitlines(keepends=True)
    write_listed(folder / "config.yaml", "".join(line for line in lines if "head_first" not in line))
    with pytest.raises(SlatError, match=r"another configuration: training\.head_first \(was 0\.0, is 0\.1\)"):
        folder.already_done(new, resume=True)
