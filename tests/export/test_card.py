"""The model card says what the run says: data, test quality with its interval, structure, base model, license."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from slat_search.cli import main
from slat_search.export.facts import read_facts
from tests.export.test_classes import bert

KEPT = Path(__file__).parent.parent.parent / "experiments" / "results" / "quickstart"
LABEL = "slat-ad2e8a"


@pytest.fixture
def in_a_run(small: Callable[..., Path], tmp_path: Path) -> Path:
    """An adapter where a run keeps it, beside the tables of a real run."""
    folder = tmp_path / "run" / "adapters" / LABEL
    folder.parent.mkdir(parents=True)
    small(bert, "lora", pooling="first").rename(folder)
    for name in ("environment.json", "config.yaml", "results.csv", "robustness.csv"):
        shutil.copy(KEPT / name, tmp_path / "run" / name)
    return folder


def test_the_card_of_an_adapter_of_a_run(in_a_run: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(KEPT / "results.csv")
    table = pd.read_csv(KEPT / "robustness.csv").set_index("method").loc[LABEL]
    mean = rows[rows["method"] == LABEL]["quality"].mean()
    command = ["export", str(in_a_run), "--out", str(tmp_path / "out"), "--format", "peft", "--license", "cc0-1.0"]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"| {mean:.3f} | {table['quality_low']:.3f} to {table['quality_high']:.3f} |" in text
    assert "Trained on `bbc-match` (texts: train 2,468, validation 826, test 826)." in text
    assert "lora" in text
    front = yaml.safe_load(re.findall(r"^---\n(.*?)\n---", text, re.DOTALL)[0])
    assert front["tags"] == ["slat-search", "peft", "lora"]
    assert (front["license"], front["library_name"], front["metrics"]) == ("cc0-1.0", "peft", ["accuracy"])
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": round(mean, 4)}]
    assert result["dataset"]["name"] == "bbc-match"


def test_an_adapter_in_no_run_has_no_more_than_its_own_measures(small: Callable[..., Path], tmp_path: Path) -> None:
    folder = small(bert, "lora", pooling="first")
    assert read_facts(folder) is None
    result = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "README.md").read_text()
    assert "Validation, of these weights: quality 0.500, loss 1.250." in text
    assert "Trained on" not in text
    assert "None was named." in text


def test_a_method_that_the_tables_do_not_have_is_no_error(in_a_run: Path) -> None:
    other = in_a_run.rename(in_a_run.with_name("of-another-run"))
    facts = read_facts(other)
    assert facts is not None
    assert facts.test is None
