"""What becomes of a method that cannot be trained, with real trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slat_search import SlatError
from slat_search.pipeline import choose
from slat_search.run_folder import RunFolder
from slat_search.structure import Site, Structure, find_sites
from slat_search.training.context import Context
from slat_search.tuning.finals import train_finals
from slat_search.tuning.fixed import UnitPool
from slat_search.tuning.ledger import Trial
from slat_search.tuning.runtime import ray_session
from tests.conftest import small_config


def test_a_method_that_diverges_is_left_out_and_named(context: Context, tmp_path: Path) -> None:
    structure = Structure.bitfit(find_sites(context.backbone().model))
    trial = Trial(0, {"noise_kind": "none", "noise_ratio": 0.0}, "completed", structure=structure)
    folder, lines = RunFolder(tmp_path), []
    broken = {"method": "lora", "learning_rates": [1e30]}
    config = small_config(seeds=1, baselines=[broken, {"method": "head"}])
    with ray_session():
        pool = UnitPool(config, context, tmp_path / "units", lines.append)
        finals = train_finals(pool, config, [trial], folder, lines.append)
        hopeless = small_config(search={"refit_learning_rates": [1e30]}, baselines=[])
        with pytest.raises(SlatError, match="training diverged for every structure that was found"):
            train_finals(pool, hopeless, [trial], folder, lines.append)
    assert [contender.title for contender, _ in finals] == ["SLAT 25.3k (trial 0)", "linear head"]
    assert "left out: LoRA r=8, whose training diverged at every learning rate" in lines
    folder_selection = tmp_path / "selection.json"
    tuning = json.loads(folder_selection.read_text())["tuning"]
    assert tuning["LoRA r=8"] == {"tried": {"1e+30": None}, "chosen": "none: left out"}


def test_the_bare_head_is_a_member_only_where_nothing_else_was_found() -> None:
    """It is the best of those that cost nothing, so by rank alone it would always take a place; it is a baseline."""

    def trial(number: int, structure: Structure, quality: float) -> Trial:
        report = {"quality": quality, "quality_perturbed": 0.9 * quality, "retained": 0.9, "params": structure.params}
        return Trial(number, {}, "completed", history=(report,), structure=structure)

    site = Site(0, "layer.0.q", "q", 8, 8)
    bare = trial(0, Structure(), 0.9)
    small, large = trial(1, Structure.lora((site,), r=1), 0.85), trial(2, Structure.lora((site,), r=4), 0.92)
    assert {t.number for t in choose([bare, small, large], 3)} == {1, 2}
    assert choose([bare], 3) == [bare]
