"""What the command line answers; whole runs in processes of their own are in ``test_run``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slat_search.cli import main
from slat_search.config import Config
from slat_search.records import Environment, ModelFacts, TaskFacts
from slat_search.run_folder import RunFolder
from tests.whole import SLAT

ENVIRONMENT = Environment(
    tasks=(TaskFacts(name="bbc-headline", labels=("a", "b"), majority=0.5, train=5, validation=4, test=3),),
    model=ModelFacts(name="minilm", params=9, head_params=2, layers=1, site_columns=()),
)

KEPT = Path(__file__).parents[1] / "experiments" / "results" / "quickstart"
QUICK = ("show", "tasks", "doctor", "init", "schema", "list")


def slat(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "search",
        "baselines",
        "sensitivity",
        "compare",
        "report",
        "predict",
        "export",
        "add-task",
        "show",
        "tasks",
        "doctor",
        "init",
        "schema",
        "list",
    ],
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    out = slat(command, "--help")
    assert out.exit_code == 0
    assert f"slat {command}" in out.stdout.split("Example:")[1]
    (line,) = [line for line in slat("--help").stdout.splitlines() if line.startswith(f"  {command} ")]
    assert line.endswith(".")  # a whole sentence
    assert not line.endswith("...")
    assert ("--quiet" in out.stdout and "--verbose" in out.stdout) == (command not in QUICK)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {stepz: 3}", "unknown field training.stepz; did you mean steps?"),
        ("task: {name: mine, train: missing.csv}", "task.train: no such file: "),
        ("task: {name: imagenet}", "task.name: unknown task 'imagenet' (embedded tasks are bbc-headline"),
        ("task: {max_length: 2000}", "task.max_length: 2000 tokens are more than the 512 that the model takes"),
        ("task: {subset: sst2}", "task: subset and hub_splits belong to hub, which is not given"),
        ("model: {name: no-such-model}", "model.name: cannot load 'no-such-model'"),
        ("model: {name: nobody/no-such-model}", "model.name: cannot load 'nobody/no-such-model'"),
        ("space: {include: ['*.qeury']}", "no site of BertModel is left"),
        (
            "baselines: [{method: lora, roles: [gate]}]",
            "baselines.roles: no projection of this model has a role in gate",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path: Path, text: str, message: str) -> None:
    out = slat("run", write(tmp_path, text), "--out", tmp_path / "run")
    assert out.exit_code == 2
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert "Traceback" not in out.stdout + out.stderr


@pytest.mark.parametrize(("typed", "offered"), [("slat re", {"report"}), ("slat run --re", {"--resume"})])
def test_the_shell_completes_commands_and_options(typed: str, offered: set[str]) -> None:
    asked = {"_SLAT_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    command = [sys.executable, "-c", "import sys; sys.argv = ['slat']; from slat_search.cli import main; main()"]
    told = subprocess.run(command, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert {line.removeprefix("plain,") for line in told.stdout.split()} == offered


def test_missing_configuration_and_foreign_folder(tmp_path: Path) -> None:
    process = subprocess.run([SLAT, "run", str(tmp_path / "nowhere.yaml")], capture_output=True, text=True)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("error: config ")
    assert process.stderr.strip().endswith("no such file")
    (tmp_path / "notes.txt").write_text("mine")
    out = slat("run", write(tmp_path, "task: bbc-headline"), "--out", tmp_path)
    assert out.exit_code == 2
    assert "is not empty and not a run folder" in out.stderr
    out = slat("run", write(tmp_path, "task: bbc-headline"), "--out", tmp_path, "--overwrite")
    assert out.exit_code == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_show_and_predict_without_a_run(tmp_path: Path) -> None:
    for command in (("show", tmp_path), ("predict", tmp_path, "--text", "hello")):
        out = slat(*command)
        assert out.exit_code == 2
        assert str(tmp_path) in out.stderr


def test_tasks_are_listed_and_described(tmp_path: Path) -> None:
    listed = slat("tasks").stdout
    assert "bbc-match" in listed
    assert "nyu-mll/glue mnli: premise + hypothesis; accuracy" in listed
    described = slat("tasks", "bbc-match", "--examples", "1").stdout
    assert described.startswith("bbc-match: 2 classes; accuracy")
    assert "50.0%" in described
    assert "longest" in described
    (tmp_path / "prices.csv").write_text("what,price\n" + "".join(f"thing {i},{i / 4}\n" for i in range(50)))
    own = "task: {name: prices, train: prices.csv, text: [what], label: price, metric: pearson}"
    result = slat("tasks", write(tmp_path, own), "--examples", "2")
    assert result.stdout.startswith("prices: a number; pearson")
    assert "mean" in result.stdout
    wrong = slat("tasks", "bbc-mtach")
    assert wrong.exit_code == 2
    assert "did you mean bbc-match?" in wrong.stderr


def test_many_labels_have_a_line_each(tmp_path: Path) -> None:
    """Of 77 classes with long names no line of a table is longer than a screen."""
    names = [f"intent_{i}_about_a_card_that_was_not_accepted" for i in range(77)]
    rows = [{"text": f"words {i} {name}", "label": name} for name in names for i in range(8)]
    rows += [{"text": f"more words {i}", "label": names[5]} for i in range(8)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = slat("tasks", write(tmp_path, "task: {name: banking, train: train.jsonl}"))
    assert out.exit_code == 0, out.output
    assert max(map(len, out.stdout.splitlines())) <= 110
    assert len({line.split()[0] for line in out.stdout.splitlines() if line.startswith("intent_")}) == 77
    (line,) = [line for line in out.stdout.splitlines() if line.startswith("intent_5_")]
    assert float(line.split("%")[0].split()[-1]) > 2  # twice as many as of the others


def test_a_run_is_shown_under_an_ascii_locale(tmp_path: Path) -> None:
    RunFolder(tmp_path).begin(Config(), ENVIRONMENT)
    (tmp_path / "comparison.md").write_text("| größe | 0.9 ± 0.1 ≈ |\n", encoding="utf-8")
    ascii_alone = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    shown = subprocess.run([SLAT, "show", str(tmp_path)], capture_output=True, env=ascii_alone)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.decode().startswith("| größe | 0.9 ± 0.1 ≈ |\n")


@pytest.mark.parametrize(
    ("used", "later"),
    [
        ("slat_search", {"torch", "ray"}),
        ("slat_search.run", {"matplotlib", "sklearn", "scipy.stats", "peft", "transformers.modeling_utils"}),
        ("slat_search.load", {"ray", "matplotlib", "peft", "transformers.modeling_utils"}),
    ],
)
def test_an_import_loads_nothing_that_takes_long_before_it_is_used(used: str, later: set[str]) -> None:
    code = f"import sys, slat_search; {used}; print({later!r} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_folder_with_a_configuration_of_the_user_is_no_run(tmp_path: Path) -> None:
    """Neither is it thrown away with the data beside it."""
    config = tmp_path / "config.yaml"
    config.write_text("task: bbc-headline")
    (tmp_path / "train.csv").write_text("text,label")
    for option in ("--overwrite", "--resume"):
        out = slat("run", config, "--out", tmp_path, option)
        assert (out.exit_code, out.stderr.count("is not empty and not a run folder")) == (2, 1)
    assert config.read_text() == "task: bbc-headline"
    assert (tmp_path / "train.csv").exists()


@pytest.mark.parametrize("command", ["run", "search", "baselines", "sensitivity"])
def test_to_resume_and_to_overwrite_are_two_things(tmp_path: Path, command: str) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(Config(), ENVIRONMENT)
    out = slat(command, write(tmp_path, "task: bbc-headline"), "--out", folder.root, "--overwrite", "--resume")
    assert (out.exit_code, out.stderr.count("give one of them")) == (2, 1)
    assert folder.exists


@pytest.mark.parametrize("command", ["run", "sensitivity"])
def test_nothing_is_thrown_away_for_a_run_that_cannot_begin(tmp_path: Path, command: str) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(Config(), ENVIRONMENT)
    config = write(tmp_path, "task: {name: mine, train: missing.csv}")
    out = slat(command, config, "--out", folder.root, "--overwrite")
    assert (out.exit_code, out.stderr.count("no such file")) == (2, 1)
    assert folder.exists


@pytest.mark.parametrize("taken", ["figures", "comparison.csv", "answer.md"])
def test_what_stands_in_the_way_of_a_report_is_one_sentence(tmp_path: Path, taken: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(KEPT, run)
    shutil.rmtree(run / "figures")
    if taken == "figures":
        (run / taken).write_text("not a folder")
    else:
        (run / taken).unlink()
        (run / taken / "not").mkdir(parents=True)
    done = slat("report", run)
    assert done.exit_code == 2, done.output
    assert taken in done.output
    assert "Traceback" not in done.output
