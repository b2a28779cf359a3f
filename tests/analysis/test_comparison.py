"""Comparison over runs, from what is kept of them: every figure is computed again from their rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from slat_search import SlatError
from slat_search.analysis.comparison import compare_runs
from slat_search.analysis.data import read_results
from slat_search.analysis.tables import comparison
from slat_search.cli import main
from slat_search.records import Environment
from slat_search.run_folder import RunFolder

BACKBONE = 1_000_000
#: method -> family, group, parameters, quality above the task's own
METHODS = {
    "slat-a": ("slat", "SLAT", 2000, 0.04),
    "slat-b": ("slat", "SLAT", 9000, 0.045),
    "lora-8": ("baseline", "LoRA r=8", 20_000, 0.05),
    "bitfit": ("baseline", "BitFit", 8000, 0.02),
    "uniform-2000": ("baseline", "even LoRA, same size", 2000, 0.0),
    "uniform-9000": ("baseline", "even LoRA, same size", 9000, 0.03),
    "head": ("baseline", "linear head", 0, -0.1),
    "full": ("baseline", "full fine-tuning", BACKBONE, 0.06),
}


def made_run(
    folder: Path, task: str, level: float, seeds: int = 3, drop: str = "", name: str | None = None, texts: int = 4000
) -> Path:
    """What a run keeps in ``experiments/results``: no trained weights, no predictions."""
    rng = np.random.default_rng(len(task))
    rows = [
        {
            "task": task, "model": "tiny", "family": family, "method": method, "name": method, "structure": "",
            "group": group, "budget": params if "same size" in group else None, "seed": seed, "learning_rate": 0.01,
            "validation": level + gain + 0.002 * (method == "slat-b"), "quality": level + gain + rng.normal(0, 0.004),
            "retained": 0.9 + rng.normal(0, 0.01), "params": params, "params_percent": 100 * params / BACKBONE,
            "compression": BACKBONE / params if params else np.inf, "train_seconds": 5.0, "memory": 10**8,
            "steps": 10,
        }
        for method, (family, group, params, gain) in METHODS.items()
        for seed in range(seeds)
        if method != drop
    ]  # fmt: skip
    folder.mkdir()
    pd.DataFrame(rows).to_csv(folder / "results.csv", index=False)
    config = {
        "name": name or task, "seed": 0, "seeds": seeds, "task": {"name": task, "metric": "accuracy"},
        "model": {"name": "tiny"},
        "training": {"steps": 10}, "search": {"tolerance": 0.01},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {
        "task": {"name": task, "labels": ["a", "b"], "majority": 0.3, "train": 9, "validation": 9, "test": texts},
        "model": {"name": "tiny", "params": BACKBONE, "head_params": 18, "layers": 2, "site_columns": ["q"]},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [made_run(tmp_path / task, task, level) for task, level in (("one", 0.7), ("two", 0.8), ("three", 0.6))]


def test_stored_bytes_are_shown_where_runs_know_them(runs: list[Path], tmp_path: Path) -> None:
    compare_runs(runs, tmp_path / "before")
    assert "stored bytes |" not in (tmp_path / "before" / "comparison.md").read_text()
    for number, run in enumerate(runs):
        rows = pd.read_csv(run / "results.csv")
        of_one_run_only = (rows["method"] == "bitfit") & (number > 0)
        rows["bytes"] = (4 * rows["params"] + number).mask(of_one_run_only)
        rows.to_csv(run / "results.csv", index=False)
    compare_runs(runs, tmp_path / "after")
    header, _, *lines = (tmp_path / "after" / "comparison.md").read_text().split("\n\n")[0].splitlines()
    column = [cell.strip() for cell in header.split("|")].index("stored bytes")
    shown = {line.split("|")[1].strip(): line.split("|")[column].strip() for line in lines}
    assert (shown["SLAT, recommended"], shown["LoRA r=8"], shown["BitFit"]) == ("8,001", "80,001", "-")


def test_the_table_follows_from_rows_of_results(runs: list[Path], tmp_path: Path) -> None:
    compare_runs(runs, tmp_path / "out")
    rows = pd.concat([pd.read_csv(run / "results.csv") for run in runs])
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    names = {
        "SLAT, recommended": "slat-a",
        "LoRA r=8": "lora-8",
        "BitFit": "bitfit",
        "even LoRA, same size": "uniform-2000",
    }
    for shown, method in names.items():
        mine = rows[rows["method"] == method].groupby("task")["quality"]
        part = table[table["method"] == shown].set_index("dataset")
        for task in ("one", "two", "three"):
            assert part["quality"][task] == pytest.approx(mine.mean()[task])
            assert part["quality_sd"][task] == pytest.approx(mine.std()[task])
        assert part["quality"]["average"] == pytest.approx(mine.mean().mean())
    average = table[table["dataset"] == "average"]
    per_task = table[table["dataset"] != "average"].pivot(index="dataset", columns="method", values="quality")
    expected = per_task.rank(axis=1, ascending=False).mean()
    assert average.set_index("method")["rank"].to_dict() == pytest.approx(expected.to_dict())
    text = (tmp_path / "out" / "comparison.md").read_text()
    for task, level in per_task["LoRA r=8"].items():
        assert f"{level:.3f}" in text, task
    stored = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    for (run, name), part in stored[stored["as"] != ""].groupby(["run", "as"]):
        shown_quality = table[(table["dataset"] == run) & (table["method"] == name)]["quality"].item()
        assert part["quality"].mean() == pytest.approx(shown_quality)


def test_differences_are_paired_by_task_and_seed(runs: list[Path], tmp_path: Path) -> None:
    compare_runs(runs, tmp_path / "out")
    tests = pd.read_csv(tmp_path / "out" / "tests.csv").set_index("method")
    assert set(tests["minus"]) == {"LoRA r=8"}  # full fine-tuning is the ceiling
    rows = pd.concat([pd.read_csv(run / "results.csv") for run in runs])
    wide = rows.pivot(index=["task", "seed"], columns="method", values="quality")
    difference = wide["bitfit"] - wide["lora-8"]
    assert tests["difference"]["BitFit"] == pytest.approx(difference.mean())
    assert tests["pairs"]["BitFit"] == 9
    assert tests["p"]["BitFit"] == pytest.approx(2 / 2**9)
    assert tests["low"]["BitFit"] < difference.mean() < tests["high"]["BitFit"]
    assert (tests["p_holm"] >= tests["p"]).all()


def test_marks_say_what_may_be_chance(runs: list[Path], tmp_path: Path) -> None:
    """With 4,000 texts, 0.02 is chance at a quality of 0.7 and 0.2 is not."""
    compare_runs(runs, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv", keep_default_na=False)
    for _, part in table[table["dataset"] != "average"].groupby("dataset"):
        marks = part.set_index("method")["mark"]
        assert (marks == "best").sum() == 1
        assert marks["linear head"] == ""
        assert {marks["full fine-tuning"], marks["LoRA r=8"]} <= {"best", "level"}


def test_a_method_that_one_task_lacks_has_no_average(runs: list[Path], tmp_path: Path) -> None:
    other = made_run(tmp_path / "four", "four", 0.5, drop="bitfit")
    compare_runs([*runs, other], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    average = table[table["dataset"] == "average"]["method"]
    assert "BitFit" not in set(average)
    assert "LoRA r=8" in set(average)
    line = next(line for line in (tmp_path / "out" / "comparison.md").read_text().splitlines() if "BitFit" in line)
    assert line.split("|")[5].strip() == "-"


def test_from_five_tasks_on_ranks_have_a_critical_difference(runs: list[Path], tmp_path: Path) -> None:
    more = [made_run(tmp_path / task, task, level) for task, level in (("fourth", 0.5), ("fifths", 0.9))]
    compare_runs(runs, tmp_path / "few")
    compare_runs([*runs, *more], tmp_path / "many")
    assert json.loads((tmp_path / "few" / "ranks.json").read_text())["critical_difference"] is None
    ranks = json.loads((tmp_path / "many" / "ranks.json").read_text())
    assert ranks["friedman_p"] < 0.01
    assert 0 < ranks["critical_difference"] < len(ranks["mean_ranks"])
    assert "do not differ (Nemenyi" in (tmp_path / "many" / "comparison.html").read_text()


def test_two_searches_of_one_task_are_named_by_their_run(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / n, "one", 0.7 + 0.01 * i, name=n) for i, n in enumerate(("tight", "loose"))]
    compare_runs(runs, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert set(table["dataset"]) == {"one"}
    assert {"SLAT, recommended [tight]", "SLAT, recommended [loose]", "BitFit [loose]"} <= set(table["method"])


def test_two_searches_of_several_tasks_have_averages_by_their_labels(tmp_path: Path) -> None:
    made = {
        f"{label}-{task}": made_run(tmp_path / f"{label}-{task}", task, level, name=f"{label}-{task}")
        for label, level in (("tight", 0.7), ("loose", 0.71))
        for task in ("one", "three")
    }
    given = [f"{name.split('-')[0]}={folder}" for name, folder in made.items()]
    compare_runs(given, tmp_path / "out", against="SLAT, recommended [tight]")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    average = table[table["dataset"] == "average"].set_index("method")["quality"]
    assert {"SLAT, recommended [tight]", "SLAT, recommended [loose]", "BitFit [loose]"} <= set(average.index)
    tests = pd.read_csv(tmp_path / "out" / "tests.csv").set_index("method")
    assert set(tests["minus"]) == {"SLAT, recommended [tight]"}
    assert tests["difference"]["SLAT, recommended [loose]"] == pytest.approx(0.01)
    assert tests["pairs"]["SLAT, recommended [loose]"] == 6
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "SLAT, recommended [loose] minus SLAT, recommended [tight]: +0.010" in page
    assert "the baseline that is best on validation" not in page
    # what only one of two labels has of a task is named as on the others
    compare_runs(given[:3], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    average = table[table["dataset"] == "average"]["method"]
    assert "SLAT, recommended [tight]" in set(average)
    assert "the baseline that is best on validation" in (tmp_path / "out" / "comparison.html").read_text()


def test_a_wrong_label_or_method_is_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    other = made_run(tmp_path / "again", "one", 0.7, name="again")
    with pytest.raises(SlatError, match="a: a label for one run of one, given to 2"):
        compare_runs([f"a={runs[0]}", f"a={other}"], tmp_path / "out")
    with pytest.raises(SlatError, match=r"--against: no method 'LORA'; there are .*LoRA r=8"):
        compare_runs(runs, tmp_path / "out", against="LORA")
    odd = made_run(tmp_path / "lr=0.1", "four", 0.7)
    compare_runs([odd], tmp_path / "out")
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv")["dataset"]) == {"four"}


def test_other_texts_of_one_task_are_another_task(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / f"run-{i}", "one", 0.7, name="same") for i in range(2)]
    config = yaml.safe_load((runs[1] / "config.yaml").read_text())
    (runs[1] / "config.yaml").write_text(yaml.safe_dump({**config, "seed": 5}))
    compare_runs(runs, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert set(table["dataset"]) == {"one [same]", "one [same 2]", "average"}
    assert "BitFit" in set(table["method"])


def test_where_no_method_is_on_all_tasks_there_is_no_average(runs: list[Path], tmp_path: Path) -> None:
    other = made_run(tmp_path / "again", "one", 0.7, name="again")
    compare_runs([*runs, other], tmp_path / "out")
    assert "average" not in set(pd.read_csv(tmp_path / "out" / "comparison.csv")["dataset"])
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "No method is there on all tasks" in page
    assert not re.search(r"\bnan\b", page)


def test_a_size_that_seeds_found_again_stands_beside_baselines_of_the_size_that_was_found(
    runs: list[Path], tmp_path: Path
) -> None:
    """Seeds that search again hold a size within 1 %: 1,985 of 2,000."""
    rows = pd.read_csv(runs[0] / "results.csv")
    rows.loc[rows["method"] == "slat-a", "params"] = 1985
    rows.to_csv(runs[0] / "results.csv", index=False)
    compare_runs(runs[:1], tmp_path / "out")
    shown = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("method")["quality"]
    expected = rows[rows["method"] == "uniform-2000"]["quality"].mean()
    assert shown["even LoRA, same size"] == pytest.approx(expected)


def test_one_run_alone_needs_no_average(runs: list[Path], tmp_path: Path) -> None:
    compare_runs(runs[:1], tmp_path / "out")
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert "average" not in text
    assert "SLAT, best" in text
    run = RunFolder(runs[0])
    results = read_results(run, Environment.read(run / "environment.json"))
    recommended = comparison(results).set_index("method").loc["slat-a"]
    assert f"{recommended['quality']:.3f}" in text


@pytest.mark.parametrize("tasks", [1, 3])
def test_runs_with_one_seed(tmp_path: Path, tasks: int) -> None:
    """There is no spread, and of one pair no test; what there is stands there."""
    runs = [made_run(tmp_path / task, task, 0.7, seeds=1) for task in ("one", "two", "three")[:tasks]]
    compare_runs(runs, tmp_path / "out")
    tests = pd.read_csv(tmp_path / "out" / "tests.csv").set_index("method")
    assert set(tests["pairs"]) == {tasks}
    assert tests["p"].min() == pytest.approx(min(1.0, 2 / 2**tasks))
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert not re.search(r"\bnan\b", page)


def test_a_run_whose_found_structures_all_diverged(tmp_path: Path) -> None:
    run = made_run(tmp_path / "one", "one", 0.7)
    rows = pd.read_csv(run / "results.csv")
    rows[rows["family"] == "baseline"].to_csv(run / "results.csv", index=False)
    compare_runs([run, made_run(tmp_path / "two", "two", 0.8)], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert not table[table["dataset"] == "one"]["method"].str.startswith("SLAT").any()
    assert "LoRA r=8" in set(table[table["dataset"] == "average"]["method"])


def test_the_same_texts_are_told_by_their_digest(tmp_path: Path) -> None:
    """Whatever their files are called, or however they were drawn."""
    runs = [made_run(tmp_path / f"run-{i}", "one", 0.7, name=f"run-{i}") for i in range(3)]
    for run, digest in zip(runs, ("a", "a", "b"), strict=True):
        environment = json.loads((run / "environment.json").read_text())
        environment["task"]["digests"] = {"test": digest}
        (run / "environment.json").write_text(json.dumps(environment))
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["task"]["train"] = str(run / "train.csv")
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    compare_runs(runs[:2], tmp_path / "out")
    assert set(pd.read_csv(tmp_path / "out" / "comparison.csv")["dataset"]) == {"one"}
    compare_runs(runs[1:], tmp_path / "out")
    datasets = set(pd.read_csv(tmp_path / "out" / "comparison.csv")["dataset"])
    assert datasets == {"one [run-1]", "one [run-2]", "average"}


def test_what_cannot_be_compared_is_one_sentence(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SlatError, match=r"no finished run there \(results.csv is missing\)"):
        compare_runs([tmp_path / "nothing"], tmp_path / "out")
    with pytest.raises(SlatError, match="given twice"):
        compare_runs([runs[0], runs[0]], tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(SlatError, match="is not empty and holds no comparison"):
        compare_runs(runs, tmp_path / "mine")
    results = pd.read_csv(runs[0] / "results.csv").drop(columns="group")
    results.to_csv(runs[0] / "results.csv", index=False)
    with pytest.raises(SlatError, match="has no column group; it was made by another version"):
        compare_runs(runs, tmp_path / "out")


def test_the_command_prints_the_table(runs: list[Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["compare", *map(str, runs), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert re.search(r"\| LoRA r=8 +\| +0\.7", done.output)
    again = CliRunner().invoke(main, ["compare", str(runs[0]), "--out", str(tmp_path / "out")])
    assert again.exit_code == 0, again.output
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "http" not in page
