"""Whole runs through the command line: real encoder, real headlines, a Ray of their own."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import slat_search
from slat_search import pipeline
from slat_search.analysis.fronts import nondominated
from slat_search.cli import main
from slat_search.errors import SlatError
from slat_search.records import SavedAdapter
from slat_search.run_folder import RunFolder
from slat_search.search.overall import RunProgress
from slat_search.search.trial_log import Trial
from slat_search.structure import Structure
from slat_search.training.context import Context
from tests.conftest import small_config
from tests.whole import SLAT, assert_same, command_line, descendants, finish, kill_when, lines, start

FILES = (
    "config.yaml",
    "environment.json",
    "trials.csv",
    "history.csv",
    "selection.json",
    "results.csv",
    "perturbation.csv",
    "robustness.csv",
    "comparison.csv",
    "comparison.md",
    "comparison.tex",
    "answer.md",
    "mistakes.json",
    "pareto.csv",
    "budget.csv",
    "hypervolume.json",
    "report.html",
    "done.json",
)
MOMENTS = ("config.yaml", "search/ledger.jsonl", "trials.csv", "units/*.train.json", "units/*.test.json")


def test_everything_is_there(run: tuple[Path, str]) -> None:
    folder, output = run
    for name in FILES:
        assert (folder / name).stat().st_size > 0, name
    for figure in ("pareto", "perturbation", "search"):
        assert Image.open(folder / "figures" / f"{figure}.png").size[0] > 400
    assert not list(folder.rglob("*.part"))
    assert (folder / "comparison.md").read_text() in output
    assert str(folder / "report.html") in output


def test_its_files_have_one_mode(run: tuple[Path, str]) -> None:
    os.umask(mask := os.umask(0))
    for path in run[0].rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~mask, path


def test_trials_report_discretised_structures(run: tuple[Path, str]) -> None:
    trials = pd.read_csv(run[0] / "trials.csv")
    assert len(trials) == 4
    assert (trials[trials["refitted"] == "yes"]["params"] > 0).any()  # not only the bare head
    assert set(trials["status"]) <= {"completed", "stopped"}
    assert (trials["refitted"] == "yes").sum() <= 2
    for path in (run[0] / "structures").glob("slat-*.json"):
        structure = Structure.load(path)
        row = trials[trials["structure"] == structure.digest].iloc[0]
        assert row["params"] == structure.params


def test_the_table_follows_from_the_results(run: tuple[Path, str]) -> None:
    results = pd.read_csv(run[0] / "results.csv")
    table = pd.read_csv(run[0] / "comparison.csv").set_index("method")
    assert set(table.index) == set(results["method"]) >= {"lora-2", "head"}
    for method, rows in results.groupby("method"):
        assert sorted(rows["seed"]) == [0, 1]
        assert table.loc[method, "quality"] == pytest.approx(rows["quality"].mean())
        assert table.loc[method, "quality_sd"] == pytest.approx(rows["quality"].std())
        assert table.loc[method, "validation"] == pytest.approx(rows["validation"].mean())
    front = nondominated(table)
    assert table["on_front"].tolist() == front.tolist()
    assert set(pd.read_csv(run[0] / "pareto.csv")["method"]) == set(table.index[front])


def test_every_method_was_given_as_much(run: tuple[Path, str]) -> None:
    """Two learning rates with seed 0, and the better one with seed 1; of the bare head there is one rate."""
    budget = pd.read_csv(run[0] / "budget.csv").set_index("name")
    assert budget.loc["LoRA r=2", ["tuned", "trainings", "steps"]].tolist() == [2, 3, 30]
    assert budget.loc["linear head", ["tuned", "trainings", "steps"]].tolist() == [1, 2, 20]
    result = budget[budget.index.str.startswith("SLAT")]
    assert result[["tuned", "trainings", "steps"]].drop_duplicates().to_numpy().tolist() == [[2, 3, 30]]
    trials = pd.read_csv(run[0] / "trials.csv")
    assert budget.loc["the search itself", "steps"] == trials["step"].sum()
    assert (budget["seconds"] > 0).all()


def test_a_report_is_written_anew_from_what_is_there(run: tuple[Path, str], tmp_path: Path) -> None:
    copy = shutil.copytree(run[0], tmp_path / "copy")
    for name in ("report.html", "comparison.csv", "budget.csv", "figures/pareto.png"):
        (copy / name).unlink()
    done = CliRunner().invoke(main, ["report", str(copy)])
    assert done.exit_code == 0, done.output
    for name in ("results.csv", "comparison.csv", "budget.csv"):
        assert (copy / name).read_text() == (run[0] / name).read_text()
    assert (copy / "report.html").stat().st_size > 100_000
    (copy / "results.csv").unlink()
    (copy / "trials.csv").unlink()
    refused = CliRunner().invoke(main, ["report", str(copy)])
    assert (refused.exit_code, refused.stderr.count("the run there has no results yet")) == (2, 1)


def test_retained_quality_follows_from_the_curves(run: tuple[Path, str]) -> None:
    results = pd.read_csv(run[0] / "results.csv").set_index(["method", "seed"])
    curves = pd.read_csv(run[0] / "perturbation.csv")
    for key, rows in curves.groupby(["method", "seed"]):
        shares = []
        for _, part in rows.groupby("kind"):
            q = part.sort_values("ratio")["quality"].tolist()
            shares.append((0.05 * (q[0] + q[1]) + 0.05 * (q[1] + q[2])) / (0.2 * q[0]))
        assert results.loc[key, "retained"] == pytest.approx(sum(shares) / len(shares))
        assert q[0] == results.loc[key, "quality"]


def test_learning_rates_were_chosen_on_validation(run: tuple[Path, str]) -> None:
    selection = json.loads((run[0] / "selection.json").read_text())
    for choice in selection["tuning"].values():
        assert choice["tried"][choice["chosen"]] == max(choice["tried"].values())
    assert len(selection["tuning"]["LoRA r=2"]["tried"]) == 2


def test_predict_in_a_new_process(run: tuple[Path, str]) -> None:
    command = [SLAT, "predict", str(run[0]), "--json", "--text", "Chelsea win away at Arsenal", "--text", "Shares fall"]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
    here = CliRunner().invoke(main, command[1:])
    for one, two in zip(map(json.loads, here.stdout.splitlines()), rows, strict=True):
        assert one["probabilities"] == pytest.approx(two["probabilities"], abs=1e-5)  # other threads, other sums
    predictor = slat_search.load(RunFolder(run[0]))
    for row, said in zip(rows, predictor([row["text"] for row in rows]).tolist(), strict=True):
        assert dict(zip(predictor.labels, said, strict=True)) == pytest.approx(row["probabilities"], abs=1e-5)


def test_every_method_has_an_adapter_to_use(run: tuple[Path, str], tmp_path: Path) -> None:
    """Of its best seed on validation: its quality is what the run says."""
    results = pd.read_csv(run[0] / "results.csv")
    for method, trained in results.groupby("method"):
        adapter = SavedAdapter.read(run[0] / "adapters" / str(method) / "adapter.json")
        assert adapter.tasks["bbc-headline"].measures.quality == trained["validation"].max()
    result = CliRunner().invoke(main, ["predict", str(run[0]), "--adapter", "lora-2", "--text", "Shares fall"])
    assert result.exit_code == 0, result.output
    assert sum(float(p) for p in re.findall(r"\d\.\d{3}", result.stdout)) == pytest.approx(1, abs=0.01)


def test_the_recommended_adapter_is_what_wins_and_is_told(run: tuple[Path, str], tmp_path: Path) -> None:
    """At the end, first in the report, and where it is used; in so few steps a hand-made method wins."""
    folder, output = run
    table = pd.read_csv(folder / "comparison.csv")
    near = table[table["validation"] >= table["validation"].max() - small_config().search.tolerance]
    winner = near.sort_values("params").iloc[0]
    best = json.loads((folder / "adapters" / "best.json").read_text())
    assert best["adapter"] == winner["method"]
    assert best["found"].startswith("slat-")
    answer = (folder / "answer.md").read_text().strip()
    assert answer in output
    page = (folder / "report.html").read_text()
    assert f'<p class="answer">{html.escape(answer)[:60]}' in page
    mistakes = json.loads((folder / "mistakes.json").read_text())
    assert mistakes["method"] == winner["method"]
    (its,) = mistakes["tasks"].values()
    assert len(its["texts"]) == min(20, its["wrong"])
    assert all(text in html.unescape(page) for one in its["texts"] for text in one["texts"])
    assert "<dt>Date</dt>" in page
    for name in (None, *table["method"]):
        chosen = winner["method"] if name is None else name
        option = [] if name is None else ["--adapter", name]
        result = CliRunner().invoke(main, ["predict", str(folder), "--text", "Shares fall", *option])
        note = best["notes"].get(chosen)
        expected = f"note: adapter {folder / 'adapters' / chosen}: {note}\n" if note else ""
        assert result.stderr == expected
        if (note is not None) and winner["family"] == "baseline" and chosen == winner["method"]:
            assert "hand-made" in note or "bare head" in note
    exported = CliRunner().invoke(
        main, ["export", str(folder), "--adapter", "head", "--out", str(tmp_path / "exported")]
    )
    assert exported.exit_code == 0, exported.output
    assert exported.stderr.startswith(f"note: adapter {folder / 'adapters' / 'head'}: this is the bare head")


def test_a_second_run_says_that_it_is_done(run: tuple[Path, str], config: Path) -> None:
    folder, _ = run
    before = (folder / "results.csv").stat().st_mtime_ns
    assert "is done already" in CliRunner().invoke(main, ["run", str(config), "--out", str(folder)]).output
    assert (folder / "results.csv").stat().st_mtime_ns == before


def test_another_configuration_does_not_touch_the_folder(run: tuple[Path, str], tmp_path: Path) -> None:
    other = tmp_path / "small.yaml"
    other.write_text(small_config(seed=5).to_yaml())
    refused = CliRunner().invoke(main, ["run", str(other), "--out", str(run[0])])
    assert refused.exit_code == 2
    assert "holds a run with another configuration: seed (was 0, is 5); use --overwrite" in refused.output


@pytest.mark.slow
def test_a_run_that_becomes_more_ends_as_if_it_had_been_so_from_the_start(
    run: tuple[Path, str], config: Path, tmp_path: Path
) -> None:
    """More trials and seeds; what the smaller one chose is gone where the larger one chooses otherwise."""
    whole = small_config()
    search = whole.search.model_copy(update={"trials": 3})
    less, out = tmp_path / "small.yaml", tmp_path / "small"
    less.write_text(whole.model_copy(update={"seeds": 1, "search": search}).to_yaml())
    finish(start(less, out))
    refused = CliRunner().invoke(main, ["run", str(config), "--out", str(out)])
    assert (refused.exit_code, refused.stderr.count("use --resume to continue it")) == (2, 1)
    told = finish(start(config, out, "--resume"))
    assert "3 of 4 trials are over" in told
    for name in ("trials.csv", "history.csv", "results.csv"):
        assert_same(run[0], out, name)
    for folder in ("structures", "adapters"):
        assert {p.name for p in (out / folder).iterdir()} == {p.name for p in (run[0] / folder).iterdir()}


def test_clean_text_alone_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(SlatError, match=r"evaluation\.ratios: one above 0 is needed"):
        slat_search.run(small_config(evaluation={"ratios": [0]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_fails_after_training_leaves_results_and_analysis_may_change(
    run: tuple[Path, str], config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that cannot be drawn takes neither tables nor adapters with it, and a new tolerance no new training."""
    out = shutil.copytree(run[0], tmp_path / "run")
    for path in (out / "report.html", out / "comparison.md", out / "answer.md"):
        path.unlink()
    shutil.rmtree(out / "adapters")
    kept = {path: path.stat().st_mtime_ns for path in out.glob("units/*")}
    search = small_config().search.model_copy(update={"tolerance": 1.0})
    tolerant = small_config().model_copy(update={"search": search})
    refused = r"holds this run with other fields: search.tolerance \(was 0.01, is 1.0\); use --resume"
    with pytest.raises(SlatError, match=refused):
        slat_search.run(tolerant, out)

    def broken(*arguments: object) -> None:
        raise ValueError("no font has this letter")

    with monkeypatch.context() as patch:
        patch.setattr("slat_search.analysis.report.illustrate", broken)
        with pytest.raises(SlatError, match=r"could not be made \(ValueError: no font has this letter\); trainings, "):
            slat_search.run(tolerant, out, resume=True)
    assert {path: path.stat().st_mtime_ns for path in out.glob("units/*")} == kept
    assert not (out / "done.json").exists()
    assert json.loads((out / "adapters" / "best.json").read_text())["adapter"] == "head"  # within so much, the smallest
    for command in (["show", str(out)], ["predict", str(out), "--text", "Shares fall"], ["report", str(out)]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    assert (out / "report.html").is_file()


def test_trials_are_kept_where_none_of_them_found_anything(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [Trial(0, {"sparsity": 1.0}, "diverged", error="loss is nan")]
    monkeypatch.setattr(pipeline, "run_search", lambda *arguments: trials)
    with pytest.raises(SlatError, match="no trial reported a structure"):
        pipeline._work(context, [], RunFolder(tmp_path), None, None, RunProgress({}), [])
    assert pd.read_csv(tmp_path / "trials.csv")["error"].tolist() == ["loss is nan"]


def test_other_resources_are_the_same_run(run: tuple[Path, str], tmp_path: Path) -> None:
    folder = RunFolder(run[0])
    other = small_config(resources={"concurrent_trials": 2})
    assert folder.already_done(other, resume=False, may_differ={"resources": True})
    with pytest.raises(SlatError, match=r"this run with other fields: resources.concurrent_trials \(was nothing, is 2"):
        folder.already_done(other, resume=False, may_grow={"resources": True})
    assert not folder.already_done(other, resume=True, may_grow={"resources": True})


@pytest.mark.slow
def test_a_worker_is_killed_and_then_the_driver_and_the_end_is_the_same(
    run: tuple[Path, str], config: Path, tmp_path: Path
) -> None:
    """A lost worker costs what its trial did since its last report, a lost driver what it had not written."""
    out = tmp_path / "killed"
    process = start(config, out)
    while lines(out / "search" / "rungs.jsonl") < 1:
        time.sleep(0.02)
    workers = [pid for pid in descendants(process.pid) if "ray::ImplicitFunc" in command_line(pid)]
    assert len(workers) == 1
    os.kill(workers[0], signal.SIGKILL)
    kill_when(process, lambda: lines(out / "search" / "rungs.jsonl") >= 3)
    refused = CliRunner().invoke(main, ["run", str(config), "--out", str(out)])
    assert "holds an unfinished run; use --resume" in refused.output
    assert refused.exit_code == 2
    assert "search: going on" in finish(start(config, out, "--resume"))
    for name in ("trials.csv", "history.csv", "results.csv"):
        assert_same(run[0], out, name)
    assert not list(out.glob("search/ray-*/trial-*/checkpoint_*/state.pt"))  # nothing goes on from them


@pytest.mark.slow
def test_killed_in_a_trial_and_gone_on_with_from_its_checkpoint(
    run: tuple[Path, str], config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    kill_when(start(config, out), lambda: lines(out / "search" / "rungs.jsonl") >= 1)
    assert "goes on from its checkpoint" in finish(start(config, out, "--resume"))
    for name in ("trials.csv", "history.csv", "results.csv"):
        assert_same(run[0], out, name)


@pytest.mark.slow
def test_same_seed_same_numbers(run: tuple[Path, str], config: Path, tmp_path: Path) -> None:
    finish(start(config, tmp_path / "again"))
    for name in ("trials.csv", "history.csv", "results.csv", "perturbation.csv", "robustness.csv"):
        assert_same(run[0], tmp_path / "again", name)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_and_resumed(run: tuple[Path, str], config: Path, tmp_path: Path, moment: str) -> None:
    """What was computed before the kill is not computed again, and the end is that of an undisturbed run."""
    out = tmp_path / "killed"
    kill_when(start(config, out), lambda: bool(list(out.glob(moment))))
    kept = {p: p.stat().st_mtime_ns for p in out.glob("units/*.json")}
    finish(start(config, out, "--resume"))
    assert all(p.stat().st_mtime_ns == time_ns for p, time_ns in kept.items())
    for name in ("trials.csv", "history.csv", "results.csv", "perturbation.csv", "robustness.csv"):
        assert_same(run[0], out, name)
    assert yaml.safe_load((out / "config.yaml").read_text())["name"] == "small"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["search/rungs.jsonl", "search/ledger.jsonl", "units/.head_lr0.01_seed0.train.json.part"]
)
def test_a_full_disk_is_one_sentence_and_costs_nothing(
    run: tuple[Path, str], config: Path, tmp_path: Path, name: str
) -> None:
    """Writing to ``/dev/full`` fails as on a full disk."""
    out = tmp_path / "run"
    kill_when(start(config, out), lambda: (out / "environment.json").is_file())
    shutil.rmtree(out / "search", ignore_errors=True)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to("/dev/full")
    process = start(config, out, "--resume")
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 2, output
    assert "No space left on device; everything finished is kept" in output.splitlines()[-1]
    assert "Traceback" not in output
    (out / name).unlink()
    finish(start(config, out, "--resume"))
    for table in ("trials.csv", "history.csv", "results.csv"):
        assert_same(run[0], out, table)


@pytest.mark.slow
def test_two_runs_in_one_folder(config: Path, tmp_path: Path) -> None:
    first = start(config, tmp_path / "run")
    while not (tmp_path / "run" / "config.yaml").exists():
        time.sleep(0.1)
    second = start(config, tmp_path / "run", "--resume")
    assert "another run is at work in" in second.communicate(timeout=100)[0]
    assert second.returncode == 2
    finish(first)


@pytest.mark.slow
def test_ctrl_c_keeps_everything_and_says_how_to_go_on(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(config, out)
    while not (out / "search" / "rungs.jsonl").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 130, output
    assert "continue with --resume" in output
    assert "Traceback" not in output
    finish(start(config, out, "--resume"))
