"""What a dry run says is what a run does, and it leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slat_search import SlatError
from slat_search.forecast import forecast
from tests.cli.commands import slat
from tests.conftest import small_config
from tests.training.test_pool import several


@pytest.mark.slow
def test_trainings_of_a_dry_run_are_those_of_the_run(run: tuple[Path, str]) -> None:
    search, rates, seeds, test = forecast(small_config()).stages
    results = pd.read_csv(run[0] / "results.csv")
    result = results[results["family"] == "slat"]["method"].nunique()
    missing = 2 - result  # structures that this run did not find
    trained = {path.name.removesuffix(".train.json") for path in run[0].glob("units/*.train.json")}
    assert len(pd.read_csv(run[0] / "trials.csv")) == 4
    assert search.steps == 4 * 10
    assert (rates.steps, seeds.steps) == (7 * 10, 4 * 10)
    assert len(trained) == (rates.steps + seeds.steps) / 10 - missing * 3
    assert test.what.startswith("8 models on ")
    assert len(list(run[0].glob("units/*.test.json"))) == 8 - missing * 2
    assert "clean and perturbed 4 times" in test.what


@pytest.mark.slow
def test_disk_is_that_of_the_weights(run: tuple[Path, str]) -> None:
    """As far as they are of baselines; what is found has no size yet."""
    plan = forecast(small_config(search={"trials": 4, "num_selected": 1, "refit_learning_rates": [0.003]}))
    weights = [path for path in run[0].glob("units/*.safetensors") if not path.name.endswith(".test.safetensors")]
    sizes = [path.stat().st_size for path in weights if path.name.startswith(("lora", "head"))]
    assert 0.8 * sum(sizes) < plan.disk < 2 * sum(sizes)


def test_the_command_trains_nothing_and_writes_nothing(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(small_config(baselines=["head"]).to_yaml())
    done = slat(
        "run",
        config,
        "--dry-run",
        "--out",
        tmp_path / "run",
        "--set",
        "search.trials=7",
        "--set",
        "seeds=1",
        "--set",
        "search.time_limit=0.01",
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"into {tmp_path / 'run'} (new); nothing was trained or written there"
    (search,) = [line for line in lines if line.startswith("search ")]
    assert "7 trials of 10 steps, 1 at a time, about 55% of them before weak ones are stopped" in search
    assert search.split("; ")[1].split() == ["as", "many", "as", "fit", "into", "0", "s", "70", "steps", "0", "s"]
    assert any(line.startswith("task bbc-headline: 96 / 96 / 96 texts") for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.slow
def test_several_tasks_are_trained_alone_and_on_each_other_besides() -> None:
    lora = {"method": "lora", "size": 1, "learning_rates": [0.01]}
    stages = {stage.name: stage for stage in forecast(several(baselines=[lora])).stages}
    assert [*stages][-2:] == ["alone", "transfer"]
    assert all(stages[name].steps > 0 and stages[name].seconds > 0 for name in ("alone", "transfer"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"space": {"include": ["*.qeury"]}}, "no site of BertModel is left"),
        ({"evaluation": {"ratios": [0]}}, "evaluation.ratios: one above 0 is needed"),
        (
            {"search": {"space": {"budget": {"low": 300, "high": 9000}, "kinds": ["all", "lora"]}}},
            "search.space.budget.low: no candidate of the kinds lora has so few parameters as 300; give at least 768",
        ),
        ({"search": {"warm_start": ["/nowhere"]}}, "search.warm_start: /nowhere is not a run folder"),
        ({"search": {"trackers": ["wandb"]}}, "search.trackers: wandb needs a package that is not installed"),
    ],
)
def test_what_a_run_would_refuse_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(SlatError, match=why):
        forecast(small_config(**fields))
