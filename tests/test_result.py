"""What a run returns in Python."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import slat_search
from slat_search import RunResult, SlatError
from slat_search.config import Config, as_config, load_config
from slat_search.run_folder import RunFolder
from tests.test_cli import ENVIRONMENT

KEPT = Path(__file__).parents[1] / "experiments" / "results"


def test_tables_of_a_run_are_data_frames() -> None:
    result = RunResult(KEPT / "quickstart")
    stored = pd.read_csv(KEPT / "quickstart" / "comparison.csv")
    assert result.table["name"].tolist() == stored["name"].tolist()
    pd.testing.assert_series_equal(result.table["quality"], stored["quality"])
    assert sorted(result.front["name"]) == sorted(stored[stored["on_front"]]["name"])
    assert result.front["params"].is_monotonic_increasing
    assert len(result.trials) == 6
    assert result.best["name"] == "SLAT 21.2k (trial 5)"
    assert result.answer.startswith("Use SLAT 21.2k (trial 5): ")
    assert repr(result).endswith(result.answer)


def test_a_notebook_shows_answer_table_and_front() -> None:
    page = RunResult(KEPT / "quickstart")._repr_html_()
    header, *rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in page.split("<tr")[1:]]
    assert header == ["method", "parameters", "validation", "test", "retained", "front", "recommended"]
    assert [row[0] for row in rows] == RunResult(KEPT / "quickstart").table["name"].tolist()
    assert [row[:2] for row in rows if row[-1] == "yes"] == [["SLAT 21.2k (trial 5)", "21,203"]]
    assert "is recommended: it is the smallest" in page
    assert 'src="data:image/png;base64,' in page


def test_of_several_tasks_there_is_a_table_too() -> None:
    result = RunResult(KEPT / "multitask_embedded")
    assert {"bbc-headline", "bbc-topic", "bbc-match"} <= set(result.table)
    assert result.best["params"] > 0
    assert "<table" in result._repr_html_()


def test_what_is_not_there_yet_is_one_sentence(tmp_path: Path) -> None:
    RunFolder(tmp_path).begin(Config(), ENVIRONMENT)
    result = RunResult(tmp_path)
    for name in ("trials", "table", "front", "best"):
        with pytest.raises(SlatError, match="has no results yet; `slat run CONFIG --resume`"):
            getattr(result, name)
    assert "has no results yet" in result._repr_html_()
    assert "not finished" in repr(result)


def test_a_mapping_is_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fields = {"task": {"name": "mine", "train": "data.csv"}, "search": {"trials": 3}}
    config = as_config(fields)
    assert config.task.train == tmp_path / "data.csv"
    assert as_config(config) is config
    (tmp_path / "run.yaml").write_text("{task: {name: mine, train: data.csv}, search: {trials: 3}}")
    assert as_config("run.yaml") == load_config(tmp_path / "run.yaml") == config
    with pytest.raises(SlatError, match=r"config: unknown field search\.trails; did you mean trials"):
        slat_search.run({"search": {"trails": 3}}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
