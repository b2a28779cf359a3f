"""A run over three tasks through the command line; minutes, so not among the usual tests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from slat_search.structure import SharedStructure
from tests.training.test_pool import TASKS, several
from tests.whole import SLAT, assert_same, finish, kill_when, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "three.yaml"
    space = {"sparsity": {"low": 0.01, "high": 0.1}}
    search = {
        "trials": 2,
        "num_selected": 1,
        "refit_learning_rates": [0.01],
        "final_weights": ["retrained", "inherited"],
        "space": space,
    }
    baselines = [{"method": "lora", "size": 1, "learning_rates": [0.01]}]
    path.write_text(several(name="three", search=search, baselines=baselines).to_yaml())
    return path


@pytest.fixture(scope="module")
def three(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "three"
    finish(start(config, out))
    return out


def test_everything_is_there(three: Path) -> None:
    results = pd.read_csv(three / "results.csv")
    names = {task["name"] for task in TASKS}
    assert {task: set(part["task"]) for task, part in results.groupby("method")} == dict.fromkeys(
        results["method"].unique(), names
    )
    assert set(results["how"]) == {"one pool", "each alone"}
    transfer = pd.read_csv(three / "transfer.csv")
    assert set(transfer["on"]) == names
    path, own = sorted((three / "structures").glob("slat-*.json"), key=lambda p: len(p.stem))
    assert own.stem == f"{path.stem}-own"
    searched = results[results["method"] == own.stem]
    assert searched["params"].max() <= results[results["method"] == path.stem]["params"].max()
    assert f"alone-search-{path.stem.removeprefix('slat-')}" in set(results["method"])
    structure = SharedStructure.from_dict(json.loads(path.read_text()))
    for task in names:  # what several tasks use alike is trained once
        used = {structure.of(name) for name in names} | {structure.pool.random_part(structure.of(task).params, seed=0)}
        trained = (three / "units" / "transfer" / task).glob("*_seed0.train.json")
        assert len(list(trained)) == len([one for one in used if one.modules])
    result = (
        results[~results["method"].str.contains("own|search") & (results["family"] == "slat")]
        .set_index(["how", "task"])["own"]
        .groupby(level=[0, 1])
        .first()
    )
    assert all(result["one pool", task] == structure.of(task).params for task in names)
    command = [SLAT, "predict", str(three), "--task", "bbc-headline", "--text", "Chelsea win away"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_is_compared_task_by_task(three: Path, tmp_path: Path) -> None:
    command = [SLAT, "compare", str(three), "--out", str(tmp_path / "out")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "SLAT, recommended, shared" in output
    table = pd.read_csv(tmp_path / "out" / "comparison.csv", keep_default_na=False)
    own = pd.read_csv(three / "comparison.csv").set_index("method")
    for method, label in (("LoRA r=1, shared", "lora-1"), ("LoRA r=1, each task alone", "alone-lora-1")):
        rows = table[table["method"] == method].set_index("dataset")
        for task in TASKS:
            assert float(rows["quality"][task["name"]]) == pytest.approx(own.loc[label, task["name"]])
        assert rows["params"].drop("average").astype(float).sum() == pytest.approx(own["params"][label], abs=1)
    marks = table[table["dataset"] != "average"].groupby("dataset")["mark"]
    assert marks.agg(lambda found: (found == "best").sum()).tolist() == [1] * len(TASKS)


@pytest.mark.parametrize("moment", ["search/rungs.jsonl", "units/*.train.json", "units/alone/*/*.train.json"])
def test_killed_at_any_moment_and_resumed(three: Path, config: Path, tmp_path: Path, moment: str) -> None:
    out = tmp_path / "killed"
    kill_when(start(config, out), lambda: bool(list(out.glob(moment))))
    finish(start(config, out, "--resume"))
    for name in ("trials.csv", "history.csv", "results.csv", "transfer.csv"):
        assert_same(three, out, name)
