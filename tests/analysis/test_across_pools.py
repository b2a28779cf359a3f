"""Runs over several tasks in a comparison, beside each other and beside runs of one of these tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from slat_search.analysis.comparison import compare_runs
from slat_search.analysis.report import analyse
from slat_search.errors import SlatError
from tests.analysis.test_comparison import made_run
from tests.analysis.test_pool import TASKS, made_pool

KEPT = Path(__file__).parents[2] / "experiments" / "results"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    (tmp_path / "pool").mkdir()
    run = made_pool(tmp_path / "pool")
    analyse(run)
    return run.root


def compared(runs: list[Path], out: Path) -> pd.DataFrame:
    compare_runs(runs, out)
    return pd.read_csv(out / "comparison.csv", keep_default_na=False, na_values=[""])


@pytest.mark.parametrize("name", ["multitask_embedded", "multitask_nlu_small"])
def test_a_kept_pool_has_the_figures_of_its_own_table(name: str, tmp_path: Path) -> None:
    table = compared([KEPT / name], tmp_path / "out")
    own = pd.read_csv(KEPT / name / "comparison.csv").set_index("method")
    tasks = [column.removeprefix("own: ") for column in own.columns if column.startswith("own: ")]
    result = own[(own["family"] == "slat") & (own["how"] == "one pool")]
    best = result["validation"].idxmax()
    (apart,) = [label for label in own.index if label.startswith("alone-slat")]
    shown = {
        "LoRA r=1, shared": "lora-1",
        "LoRA r=1, each task alone": "alone-lora-1",
        "linear head, shared": "head",
        "full fine-tuning, shared": "full",
        "SLAT, each task alone": apart,
    }
    if len(result) > 1:
        shown["SLAT, best, shared"] = best
    for method, label in shown.items():
        rows = table[table["method"] == method].set_index("dataset")
        assert rows["quality"][tasks].tolist() == pytest.approx(own.loc[label, tasks].tolist())
        assert rows["quality"]["average"] == pytest.approx(own["quality"][label])
        assert rows["params"][tasks].sum() == pytest.approx(own["params"][label], abs=1)
        assert rows["train_seconds"][tasks].sum() == pytest.approx(own["train_seconds"][label])
    assert {"SLAT, recommended, shared", "even LoRA, same size, shared"} <= set(table["method"])
    assert set(table[table["ceiling"]]["method"]) == {"full fine-tuning, shared"}


def test_a_pool_stands_beside_runs_of_its_tasks(pool: Path, tmp_path: Path) -> None:
    """The same texts by name, seed and number: one column a task, and averages of both."""
    single = [made_run(tmp_path / f"run-{i}", task, 0.5, texts=60) for i, task in enumerate(TASKS)]
    table = compared([pool, *single], tmp_path / "out")
    assert set(table["dataset"]) == {*TASKS, "average"}
    average = table[table["dataset"] == "average"].set_index("method")
    rows = pd.concat([pd.read_csv(folder / "results.csv") for folder in single])
    assert average["quality"]["SLAT, recommended"] == pytest.approx(rows.query("method == 'slat-a'")["quality"].mean())
    shared = pd.read_csv(pool / "results.csv")
    for method, label, params in (
        ("SLAT, recommended, shared", "slat-a", 64 / 3),
        ("LoRA, shared", "lora", 100 / 3),
        ("LoRA, each task alone", "alone-lora", 100),
    ):
        assert average["quality"][method] == pytest.approx(shared[shared["method"] == label]["quality"].mean())
        assert average["params"][method] == pytest.approx(params)
    page = (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "SLAT, recommended, shared: " in page
    assert "with 21 parameters for each" in page
    assert "counts in equal parts" in page
    assert "Recommended structure of" in page
    assert "evil, two" in page  # what a task uses of the pool is compared too


def test_what_differs_by_no_more_than_chance_is_judged_by_the_predictions_of_each_task(
    pool: Path, tmp_path: Path
) -> None:
    table = compared([pool], tmp_path / "out")
    for task, part in table[table["dataset"] != "average"].groupby("dataset"):
        marks = part.set_index("method")["mark"]
        assert (marks == "best").sum() == 1, task
        assert set(marks) == {"best", "level"}, task  # labels drawn at random


def test_two_pools_of_the_same_tasks_are_named_by_their_run(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = made_pool(tmp_path / "other")
    analyse(other)
    table = compared([pool, other.root], tmp_path / "out")
    assert {"SLAT, recommended, shared [evil]", "SLAT, recommended, shared [evil 2]"} <= set(table["method"])
    assert "average" in set(table["dataset"])


def test_a_pool_of_an_earlier_version_says_so(pool: Path, tmp_path: Path) -> None:
    before = (pool / "selection.json").read_text()
    selection = json.loads(before)
    selection.pop("digest", None)
    del selection["finals"][0]["group"]
    (pool / "selection.json").write_text(json.dumps(selection))
    with pytest.raises(SlatError, match=r"made by an earlier version, which kept less \(finals.0.group is missing"):
        compare_runs([pool], tmp_path / "out")
    (pool / "selection.json").write_text(before)
    results = pd.read_csv(pool / "results.csv").drop(columns="own")
    results.to_csv(pool / "results.csv", index=False)
    with pytest.raises(SlatError, match="has no column own; it was made by another version"):
        compare_runs([pool], tmp_path / "out")
