"""What a run folder takes for its own, when it is done, and who may write in it; whole runs are in ``test_run``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slat_search import SlatError
from slat_search.config import Config
from slat_search.files import MANIFEST, write_json
from slat_search.records import Environment, ModelFacts, TaskFacts
from slat_search.run_folder import COMPARISON, RunFolder, outcome, results_stay, without_results

ENVIRONMENT = Environment(
    tasks=(TaskFacts(name="bbc-headline", labels=("a", "b"), majority=0.5, train=5, validation=4, test=3),),
    model=ModelFacts(name="minilm", params=9, head_params=2, layers=1, site_columns=()),
)
CONFIG = Config(name="mine")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run that has begun."""
    begun = RunFolder(tmp_path / "run")
    begun.begin(CONFIG, ENVIRONMENT)
    return begun


def finish(folder: RunFolder) -> None:
    write_json(folder / "done.json", {})


def more_trials(config: Config, trials: int = 99) -> Config:
    return config.model_copy(update={"search": config.search.model_copy(update={"trials": trials})})


def test_paths_are_absolute_and_below_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = RunFolder("here")
    assert folder.root == tmp_path / "here" == Path(os.fspath(folder))
    assert folder / "units" == tmp_path / "here" / "units"


def test_a_folder_is_a_run_when_both_of_its_first_files_are_there(folder: RunFolder) -> None:
    assert folder.exists
    assert Environment.read(folder / "environment.json") == ENVIRONMENT
    assert (folder / MANIFEST).is_file()
    for name in ("config.yaml", "environment.json"):
        (folder / name).rename(folder / "away")
        assert not folder.exists
        (folder / "away").rename(folder / name)


def test_what_others_hold_or_study_is_no_content(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.content == []
    (folder / "sensitivity").mkdir(parents=True)
    for name in (".lock", ".lock.held", "mine.txt"):
        (folder / name).touch()
    assert folder.content == [folder / "mine.txt"]


@pytest.mark.parametrize("left", [(), (MANIFEST,), ("environment.json", ".config.yaml.x7.part", MANIFEST)])
def test_a_run_that_was_stopped_before_its_configuration_begins_again(tmp_path: Path, left: tuple[str, ...]) -> None:
    folder = RunFolder(tmp_path)
    for name in left:
        (folder / name).touch()
    folder.check_free()
    assert not folder.already_done(CONFIG, resume=False)


@pytest.mark.parametrize("name", ["notes.txt", "config.yaml", "search"])
def test_a_folder_of_others_is_refused_and_stays(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path)
    (folder / name).touch()
    (folder / "environment.json.bak").touch()
    for refused in (folder.check_free, folder.clear, lambda: folder.already_done(CONFIG, resume=True)):
        with pytest.raises(SlatError, match=rf"^--out: {tmp_path} is not empty and not a run folder; choose another$"):
            refused()
    assert {path.name for path in folder.root.iterdir()} == {name, "environment.json.bak"}


def test_clearing_takes_what_runs_write_and_nothing_else(folder: RunFolder, tmp_path: Path) -> None:
    ours = (
        *("done.json", "selection.json", "alone.json", "points.json", "hypervolume.json", "mistakes.json"),
        *("comparison.md", "comparison.tex", "answer.md", "report.html", ".results.csv.ab12.part"),
        *("trials.csv", "history.csv", "results.csv", "comparison.csv", "pareto.csv", "perturbation.csv"),
        *("robustness.csv", "budget.csv", "transfer.csv", "baselines.csv", "curves.csv", "curves_by_task.csv"),
        *("screening.csv", "importance.csv"),
    )
    for name in ours:
        (folder / name).touch()
    for name in ("screening", "units", "structures", "adapters", "figures"):
        (folder / name).mkdir()
        (folder / name / "inside").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "trial").touch()
    (folder / "search").symlink_to(elsewhere)
    theirs = {"notes.txt", "train.csv", "sensitivity", ".lock"}
    for name in theirs:
        (folder / name).touch()
    folder.clear()
    assert {path.name for path in folder.root.iterdir()} == theirs
    assert (elsewhere / "trial").exists()


def test_overwrite_takes_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The lock of this very run is not what it would overwrite."""
    folder = RunFolder(tmp_path / "new")
    with folder.lock():
        folder.clear()
        folder.begin(CONFIG, ENVIRONMENT)
        (folder / "units").mkdir()
        (folder / "notes.txt").write_text("mine")
        folder.clear()
        assert sorted(path.name for path in folder.root.iterdir()) == [".lock", "notes.txt"]


@pytest.mark.parametrize("written", ["", "{", "[]", "null"])
def test_a_mark_that_is_cut_marks_nothing(folder: RunFolder, written: str) -> None:
    assert not folder.is_done
    (folder / "done.json").write_text(written)
    assert not folder.is_done
    finish(folder)
    assert folder.is_done


def test_an_unfinished_run_wants_to_be_resumed(folder: RunFolder) -> None:
    message = rf"^--out: {folder.root} holds an unfinished run; use --resume to continue it or --overwrite$"
    with pytest.raises(SlatError, match=message):
        folder.already_done(CONFIG, resume=False)
    assert folder.already_done(CONFIG, resume=True) is False


def test_a_finished_run_is_done_however_it_is_asked_for(folder: RunFolder) -> None:
    finish(folder)
    assert folder.already_done(CONFIG, resume=False) is True
    assert folder.already_done(CONFIG, resume=True) is True


@pytest.mark.parametrize("resume", [False, True])
def test_another_configuration_is_refused(folder: RunFolder, resume: bool) -> None:
    finish(folder)
    other = CONFIG.model_copy(update={"seed": 5})
    message = (
        rf"^--out: {folder.root} holds a run with another configuration: seed \(was 0, is 5\); "
        r"use --overwrite or another --out$"
    )
    with pytest.raises(SlatError, match=message):
        folder.already_done(other, resume)
    assert folder.already_done(other, resume, may_differ={"seed": True})


def test_what_may_grow_is_done_when_resumed(folder: RunFolder) -> None:
    grown = more_trials(CONFIG)
    growing = {"search": {"trials"}}
    with pytest.raises(SlatError, match="holds an unfinished run; use --resume"):
        folder.already_done(grown, resume=False, may_grow=growing)
    finish(folder)
    message = r"holds this run with other fields: search\.trials \(was \d+, is 99\); use --resume to continue it"
    with pytest.raises(SlatError, match=message):
        folder.already_done(grown, resume=False, may_grow=growing)
    assert not folder.already_done(grown, resume=True, may_grow=growing)
    with pytest.raises(SlatError, match="another configuration"):
        folder.already_done(grown, resume=True)
    assert folder.already_done(CONFIG, resume=True, may_grow=growing)


def test_a_run_that_begins_again_is_not_done(folder: RunFolder) -> None:
    finish(folder)
    folder.begin(more_trials(CONFIG), ENVIRONMENT)
    assert not folder.is_done
    assert not folder.already_done(more_trials(CONFIG), resume=True)


def test_other_choices_leave_the_trainings(folder: RunFolder) -> None:
    folder.choose_anew()  # nothing there yet
    for name in ("structures", "adapters", "units"):
        (folder / name).mkdir()
        (folder / name / "a").touch()
    folder.choose_anew()
    assert {path.name for path in folder.content if path.is_dir()} == {"units"}


def test_a_second_run_is_refused_while_one_is_at_work(folder: RunFolder) -> None:
    assert not folder.is_at_work
    with folder.lock():
        assert folder.is_at_work
        with pytest.raises(SlatError, match=rf"^--out: another run is at work in {folder.root}"), folder.lock():
            pass
    assert not folder.is_at_work
    with folder.lock():
        pass


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_holds_nothing(folder: RunFolder, make: Callable[[Path], None]) -> None:
    make(folder / ".lock")
    assert not folder.is_at_work


def test_an_error_under_the_lock_is_its_own(folder: RunFolder) -> None:
    with pytest.raises(OSError, match="of the run"), folder.lock():
        raise OSError("of the run")


@pytest.mark.parametrize("pipe", [".lock", ".lock.held", "search/study.journal"])
def test_a_pipe_in_place_of_a_file_that_others_open_is_refused(folder: RunFolder, pipe: str) -> None:
    (folder / "search").mkdir()
    os.mkfifo(folder / pipe)
    with pytest.raises(SlatError, match=pipe), folder.lock():
        pass


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(SlatError, match=rf"^--out: cannot write to {folder.root}: Not a directory$"), folder.lock():
        pass


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ((), "no finished run there"),
        (("config.yaml", "environment.json"), "the run there has no results yet; `slat run CONFIG --resume`"),
        (("config.yaml", "environment.json", "baselines.csv"), "no finished run there, but baselines alone; `slat run"),
        (("baselines.csv", "trials.csv"), "no finished run there, but a search alone; `slat run CONFIG --resume`"),
        (("trials.csv", "points.json"), "holds sensitivity studies alone, and no finished run"),
        (("points.json", COMPARISON), "is a comparison of runs, and no run; give the runs themselves"),
    ],
)
def test_a_folder_without_results_says_what_it_holds(tmp_path: Path, there: tuple[str, ...], message: str) -> None:
    for name in there:
        (tmp_path / name).touch()
    assert without_results(RunFolder(tmp_path)).startswith(f"{tmp_path}: {message}")


def test_the_outcome_is_the_comparison_and_then_the_answer(folder: RunFolder) -> None:
    assert outcome(folder) == ""
    (folder / "answer.md").write_text("answer")
    assert outcome(folder) == "answer"
    (folder / "comparison.md").write_text("größe", encoding="utf-8")
    assert outcome(folder) == "größe\nanswer"


@pytest.mark.parametrize("error", [OSError("full"), SlatError("said already")])
def test_storage_and_what_is_said_already_go_through(folder: RunFolder, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, results_stay(folder):
        raise error
    assert caught.value is error


def test_a_page_that_fails_says_what_is_there(folder: RunFolder) -> None:
    message = (
        rf"^{folder / 'report.html'}: could not be made \(ZeroDivisionError: of a figure\); trainings, tables and "
        rf"adapters are kept and can be used, and `slat report {folder.root}` makes it anew$"
    )
    with pytest.raises(SlatError, match=message) as caught, results_stay(folder):
        raise ZeroDivisionError("of a figure")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_configuration_that_changed_on_the_disk_is_refused(folder: RunFolder) -> None:
    assert not folder.already_done(CONFIG, resume=True)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text() + "# bent\n")
    with pytest.raises(SlatError, match=r"config\.yaml"):
        folder.already_done(CONFIG, resume=True)
