"""What becomes of a method that cannot be trained, with real trainings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slat_search import SlatError
from slat_search.run_folder import RunFolder
from slat_search.structure import Structure, find_sites
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
