"""What is shown and reported of a folder, whatever it holds of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from slat_search.analysis.folder import show
from slat_search.analysis.report import analyse
from slat_search.cli import main
from slat_search.run_folder import RunFolder
from tests.analysis.made import made_run
from tests.analysis.test_pool import made_pool

KEPT = Path(__file__).parents[2] / "experiments" / "results"


def slat(command: str, folder: Path, *options: str) -> tuple[int, str, str]:
    out = CliRunner().invoke(main, [command, str(folder), *options])
    assert "Traceback" not in out.output
    return out.exit_code, out.stdout, out.stderr


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("quickstart", "| LoRA r=8 "),
        ("decoder_headline", "| LoRA r=8 "),
        ("multitask_embedded", "on the mean of 3 tasks"),
        ("multitask_nlu_small", "on the mean of 6 tasks"),
        ("three_tasks/article", "| LoRA r=8 "),
        ("sensitivity_headline", "From sparsity weight 0 to 5 the structure"),
        ("three_tasks", "| LoRA r=8 "),
    ],
)
def test_kept_results_are_shown(folder: str, message: str) -> None:
    code, out, _ = slat("show", KEPT / folder)
    assert code == 0
    assert message in out
    page = KEPT / folder / "report.html"
    assert out.endswith(f"report: {page}\n") == page.is_file()


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("equal_params", "SLAT minus uniform LoRA"),
        ("equal_params_one_seed", "results.json"),
        ("stopping", "stopping.png"),
    ],
)
def test_what_a_benchmark_keeps_is_shown(folder: str, message: str) -> None:
    code, out, _ = slat("show", KEPT / folder)
    assert code == 0
    assert message in out


@pytest.mark.parametrize("folder", ["quickstart", "multitask_embedded", "sensitivity_headline"])
def test_kept_results_get_a_page_anew_and_keep_their_tables(folder: str, tmp_path: Path) -> None:
    copy = shutil.copytree(KEPT / folder, tmp_path / "copy")
    before = tables(copy)
    (copy / "report.html").unlink(missing_ok=True)
    code, out, err = slat("report", copy)
    assert code == 0, err
    assert out == f"report: {copy / 'report.html'}\n"
    assert (copy / "report.html").stat().st_size > 100_000
    assert tables(copy) == before


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    folder = made_run(tmp_path / "run")
    analyse(folder)
    return folder


def test_a_search_alone_is_shown_and_reported_and_no_run_to_compare(finished: RunFolder, tmp_path: Path) -> None:
    trials = pd.read_csv(finished / "trials.csv")
    trials.assign(structure="0123456789").to_csv(finished / "trials.csv", index=False)
    for name in ("results.csv", "comparison.md", "answer.md", "selection.json", "report.html"):
        (finished / name).unlink()
    shutil.rmtree(finished / "units")
    code, out, _ = slat("show", finished.root)
    assert code == 0
    assert "nothing was tested. `slat run CONFIG --resume` does the rest." in out
    assert "0123456789" in out
    assert slat("report", finished.root)[0] == 0
    page = (finished / "report.html").read_text()
    assert "nothing was tested" in page
    assert page.count('<figure class="map"') == 1
    code, _, err = slat("compare", finished.root, "--out", str(tmp_path / "out"))
    assert (code, err.count("no finished run there, but a search alone")) == (2, 1)


def test_a_pool_that_was_searched_alone(tmp_path: Path) -> None:
    folder = made_pool(tmp_path)
    trials = pd.read_csv(folder / "trials.csv")
    trials.assign(structure="0123456789").to_csv(folder / "trials.csv", index=False)
    for path in (folder / "selection.json", folder / "alone.json", folder / "transfer.csv"):
        path.unlink()
    assert slat("show", folder.root)[0] == slat("report", folder.root)[0] == 0
    assert "slat-a" in (folder / "report.html").read_text()


def test_sensitivity_studies_alone_are_shown_and_reported(tmp_path: Path) -> None:
    studies = shutil.copytree(KEPT / "sensitivity_headline", tmp_path / "run" / "sensitivity")
    (studies / "report.html").unlink(missing_ok=True)
    assert "From sparsity weight 0 to 5 the structure" in slat("show", tmp_path / "run")[1]
    code, out, _ = slat("report", tmp_path / "run")
    assert (code, out) == (0, f"report: {studies / 'report.html'}\n")
    code, _, err = slat("compare", str(studies), "--out", str(tmp_path / "out"))
    assert (code, err.count("holds sensitivity studies alone")) == (2, 1)


def test_a_stage_shows_what_it_made_and_nothing_of_the_others(finished: RunFolder) -> None:
    trials = pd.read_csv(finished / "trials.csv")
    trials.assign(structure="0123456789").to_csv(finished / "trials.csv", index=False)
    (finished / "structures" / "slat-a.json").rename(finished / "structures" / "slat-012345.json")
    (finished / "baselines.csv").write_text("method,validation\nuniform LoRA,0.7\n")
    assert "LoRA & co" in show(finished)
    result, baselines = show(finished, "search"), show(finished, "baselines")
    assert ("lora 4" in result, "uniform LoRA" in result) == (True, False)
    assert ("lora 4" in baselines, "uniform LoRA" in baselines) == (False, True)
    assert not any(text in result + baselines for text in ("LoRA & co", "report.html"))


def test_an_unfinished_run_shows_what_it_has(finished: RunFolder) -> None:
    assert "not finished" in slat("show", finished.root)[1]
    (finished / "done.json").write_text("{}")
    assert "not finished" not in slat("show", finished.root)[1]


def test_nothing_to_show_is_one_sentence(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("show", "report"):
        code, _, err = slat(command, tmp_path / "empty")
        assert (code, err.count("no finished run there")) == (2, 1)
    assert slat("report", tmp_path / "nowhere") == (2, "", f"error: {tmp_path / 'nowhere'}: no such folder\n")
    assert not (tmp_path / "nowhere").exists()
    for name in ("results.csv", "comparison.md", "trials.csv", "report.html"):
        (finished / name).unlink()
    for command in ("show", "report"):
        code, _, err = slat(command, finished.root)
        assert (code, err.count("the run there has no results yet")) == (2, 1)
    (finished / "baselines.csv").write_text("method,validation\nLoRA,0.5\n")
    assert "| LoRA " in slat("show", finished.root)[1]


def test_what_is_recommended_follows_the_tolerance_of_a_report(tmp_path: Path) -> None:
    """Also of a run over several tasks, of which an earlier one kept found pools alone."""
    folder = made_pool(tmp_path)
    (folder / "adapters" / "slat-a").mkdir(parents=True)
    analyse(folder)
    best = (folder / "adapters" / "best.json").read_text()
    assert '"adapter": "slat-a"' in best
    assert '"found": "slat-a"' in best
