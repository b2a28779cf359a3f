"""Which runs there are, for people and for programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slat_search.analysis.listing import Listed, table_of
from slat_search.config import Config
from slat_search.doctor import Finding
from slat_search.records import Created, Ended
from slat_search.run_folder import RunFolder
from tests.cli.commands import slat
from tests.test_cli import ENVIRONMENT

KEPT = Path(__file__).parents[2] / "experiments" / "results"


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """What list tells of each run, by the name of its folder."""
    done = slat("list", folder, "--json")
    assert done.exit_code == 0, done.output
    return {Path(row["path"]).name: row for row in map(json.loads, done.stdout.splitlines())}


def test_kept_results_are_listed_with_what_they_recommend() -> None:
    result = rows(KEPT)
    quickstart = pd.read_csv(KEPT / "quickstart" / "comparison.csv").set_index("name").loc["SLAT 21.2k (trial 5)"]
    row = result["quickstart"]
    assert (row["state"], row["task"], row["model"]) == ("tables alone", "bbc-match", "minilm")
    assert (row["method"], row["params"], row["measured"]) == ("SLAT 21.2k (trial 5)", 21203, "test accuracy")
    assert row["quality"] == pytest.approx(quickstart["quality"])
    assert row["size"] == sum(path.stat().st_size for path in (KEPT / "quickstart").rglob("*") if path.is_file())
    assert result["multitask_embedded"]["task"] == "bbc-headline + bbc-topic + bbc-match"
    assert {"match", "article"} <= result.keys()  # below a folder that is no run
    assert "three_tasks" not in result


def test_states_of_runs(tmp_path: Path) -> None:
    config = Config.model_validate({"task": "bbc-headline", "search": {"trials": 3}})
    for name in ("begun", "done", "searched", "at-work"):
        RunFolder(tmp_path / "a" / name).begin(config, ENVIRONMENT)
    (tmp_path / "notes").mkdir()
    ledger = tmp_path / "a" / "begun" / "search" / "ledger.jsonl"
    for number in (0, 1):
        Created(number=number, sampled={}, attributes={}).append(ledger)
    Ended(number=0, status="completed", error="").append(ledger)
    (tmp_path / "a" / "done" / "done.json").write_text("{}")
    trials = pd.DataFrame({"trial": [0, 1], "quality": [0.5, 0.75], "params": [10, 20], "structure": ["aa", "bb"]})
    trials.to_csv(tmp_path / "a" / "searched" / "trials.csv", index=False)
    shutil.copytree(tmp_path / "a" / "done", tmp_path / "broken")
    (tmp_path / "broken" / "environment.json").write_text("{")
    with RunFolder(tmp_path / "a" / "at-work").lock():
        result = rows(tmp_path)
        shown = slat("list", tmp_path).stdout
    assert {name: row["state"] for name, row in result.items()} == {
        "begun": "interrupted",
        "done": "done",
        "searched": "search alone",
        "at-work": "running",
        "broken": "damaged",
    }
    assert result["begun"]["detail"] == "1 of 3 trials"
    searched = result["searched"]
    assert (searched["method"], searched["quality"], searched["params"]) == ("trial 1", 0.75, 20)
    assert searched["measured"] == "validation accuracy"
    assert result["done"]["quality"] is None
    assert len([line for line in shown.splitlines() if line.startswith(str(tmp_path))]) == 5
    assert "note: " in shown.splitlines()[-1]
    assert "environment.json: damaged" in shown.splitlines()[-1]


def test_columns_hold_sizes_and_ages_as_people_say_them() -> None:
    listed = [
        Listed("a", "done", task="t", model="m", method="LoRA", quality=0.5, params=1234, size=1_234_567, changed=1000),
        Listed("bb", "running", "1 of 2 trials", changed=1000 + 3 * 86400, size=999),
    ]
    first, second, third = table_of(listed, now=1000 + 3 * 86400 + 90).splitlines()
    assert first.split() == ["run", "state", "task", "model", "quality", "of", "parameters", "size", "age"]
    assert second.split() == ["a", "done", "t", "m", "0.500", "LoRA", "1,234", "1.2", "MB", "3", "d"]
    assert third.split() == ["bb", "running:", "1", "of", "2", "trials", "999", "B", "90", "s"]


def test_folders_without_runs(tmp_path: Path) -> None:
    assert slat("list", tmp_path).stdout == f"{tmp_path}: no runs there\n"
    assert slat("list", tmp_path, "--json").stdout == ""
    missing = slat("list", tmp_path / "nowhere")
    assert (missing.exit_code, missing.stderr) == (2, f"error: {tmp_path / 'nowhere'}: no such folder\n")


@pytest.mark.parametrize(
    ("folder", "methods"),
    [("quickstart", "LoRA r=8"), ("multitask_embedded", None), ("three_tasks", None), ("sensitivity_headline", None)],
)
def test_show_prints_json(folder: str, methods: str | None) -> None:
    (line,) = slat("show", KEPT / folder, "--json").stdout.splitlines()
    raw = json.loads(line)
    assert raw["answer"]
    assert raw["path"].endswith(folder)
    if methods:
        assert methods in [row["name"] for row in raw["table"]]
        assert raw["report"] == str(KEPT / folder / "report.html")
        assert raw["answer"] == (KEPT / folder / "answer.md").read_text().strip()


def test_tasks_print_json() -> None:
    known = [json.loads(line) for line in slat("tasks", "--json").stdout.splitlines()]
    assert {"bbc-match", "mnli"} <= {task["name"] for task in known}
    (task,) = [json.loads(line) for line in slat("tasks", "bbc-match", "--json", "--examples", "2").stdout.splitlines()]
    assert task["splits"]["train"]["labels"] == {"no": 0.5, "yes": 0.5}
    assert [len(example["texts"]) for example in task["examples"]] == [2, 2]


def test_doctor_prints_json_and_its_exit_code_tells_of_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("GPUs", "none that torch can use"), Finding("disk", "full; make room", "problem")]
    monkeypatch.setattr("slat_search.doctor.run_checks", lambda address: iter(findings))
    done = slat("doctor", "--json")
    assert done.exit_code == 1
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"name": finding.name, "said": finding.detail, "mark": finding.mark} for finding in findings
    ]
