"""Whole runs of tasks that are prompts through the command line: two in one pool, and one on weights of 4 bits."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import small_config
from tests.decoders import decoder
from tests.whole import SLAT, finish, start

TOPIC = {"name": "bbc-headline", "max_rows": 48, "prompt": "Headline: {headline}\nTopic:"}
MATCH = {
    "name": "bbc-match",
    "max_rows": 48,
    "max_length": 64,
    "prompt": "{headline}\n{article}\nDoes the headline fit?",
    "response": {"no": "no", "yes": "yes"},
}
SEARCH = {
    "trials": 2,
    "num_selected": 1,
    "refit_learning_rates": [0.01],
    "space": {"sparsity": {"low": 0.1, "high": 1}},
}
LORA = {"method": "lora", "size": 1, "learning_rates": [0.01]}


def said(*command: str) -> str:
    return subprocess.run([SLAT, *command], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_two_tasks_in_one_pool(tmp_path: Path) -> None:
    config = small_config(
        task=TOPIC,
        tasks=[TOPIC, MATCH],
        model=str(decoder(tmp_path / "decoder", "llama")),
        training={"steps": 18, "batch_size": 8},
        search=SEARCH,
        baselines=[LORA, {"method": "head", "learning_rates": [0.01]}],
        evaluation={"ratios": [0.2]},
    )
    (tmp_path / "two.yaml").write_text(config.to_yaml())
    run = tmp_path / "run"
    finish(start(tmp_path / "two.yaml", run))
    results = pd.read_csv(run / "results.csv")
    assert set(results["task"]) == {"bbc-headline", "bbc-match"}
    assert (results[results["method"] == "head"]["params"] == 0).all()
    assert results["test_loss"].notna().all()
    one = said("predict", str(run), "--task", "bbc-headline", "--text", "Chelsea win away")
    assert any(label in one for label in ("business", "entertainment", "politics", "sports", "tech"))
    pair = ("--text", "Chelsea win away", "--text-pair", "Two late goals")
    assert {"no", "yes"} & set(said("predict", str(run), "--task", "bbc-match", *pair).split())


@pytest.mark.llm
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("weights", ["nf4", "int8"])
def test_weights_of_few_bits(weights: str, tmp_path: Path) -> None:
    config = small_config(
        task=TOPIC,
        model={"name": str(decoder(tmp_path / "decoder", "wide")), "weights": weights},
        search=SEARCH,
        baselines=[LORA],
    )
    (tmp_path / "few.yaml").write_text(config.to_yaml())
    run = tmp_path / "run"
    finish(start(tmp_path / "few.yaml", run))
    results = pd.read_csv(run / "results.csv")
    assert {"lora r=1"} < set(results["method"])
    assert said("predict", str(run), "--text", "Chelsea win away")
