"""What commands print goes to terminals and pipes of every encoding: answers to one stream, messages to another."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner
from torch import nn

from slat_search.cli import main
from slat_search.cli.terminal import echo_data
from slat_search.run_folder import RunFolder
from slat_search.training.context import Context
from tests.export.folders import saved

TABLE = "| LoRA r=8 | 0.878 ± 0.001 ≈ | 9,794x | → λ |"
PLAIN = "| LoRA r=8 | 0.878 +- 0.001 ~ | 9,794x | -> \\u03bb |"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """As far as it is read by ``slat show``."""
    (tmp_path / "done.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("name: run\n")
    (tmp_path / "comparison.md").write_text(TABLE + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "encoding", "printed"),
    [
        ({}, "utf-8", TABLE),
        ({"LC_ALL": "C"}, "utf-8", TABLE),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "utf-8", TABLE),  # nobody set a locale
        ({"PYTHONIOENCODING": "ascii"}, "utf-8", TABLE),
        ({"PYTHONIOENCODING": "latin-1"}, "latin-1", PLAIN.replace("+-", "±")),
        ({"PYTHONIOENCODING": "cp1252"}, "cp1252", PLAIN.replace("+-", "±")),
        ({"PYTHONIOENCODING": "shift_jis"}, "shift_jis", TABLE.replace("≈", "~")),
        ({"PYTHONIOENCODING": "latin-1:replace"}, "latin-1", "| LoRA r=8 | 0.878 ± 0.001 ? | 9,794x | ? ? |"),
    ],
)
def test_a_table_is_shown_in_every_locale(run: Path, environment: dict[str, str], encoding: str, printed: str) -> None:
    command = [sys.executable, "-m", "slat_search", "show", str(run)]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    plain |= {"LANG": "C.UTF-8", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    ran = subprocess.run(command, capture_output=True, env=plain | environment, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.decode(encoding).splitlines()[0] == printed


def test_an_error_names_a_file_of_any_name() -> None:
    result = CliRunner(charset="cp1252").invoke(main, ["show", "Läufe/評価/\udce9"])
    assert result.exit_code == 2
    assert "/Läufe/\\u8a55\\u4fa1/\\udce9: " in result.stderr


@pytest.mark.parametrize(
    ("charset", "text", "written"),
    [
        ("ascii", "Größe", "utf-8"),
        ("latin-1", "Größe", "latin-1"),
        ("latin-1", "Größe 評価 ±", "utf-8"),
        ("utf-8", "Größe 評価 ±", "utf-8"),
    ],
)
def test_data_for_programs_is_written_as_it_is(charset: str, text: str, written: str) -> None:
    """A sign that the encoding lacks must not become another, as it does in a table that people read."""
    result = CliRunner(charset=charset).invoke(click.command(lambda: echo_data(f"{text}\n")))
    assert result.stdout_bytes == f"{text}\n".encode(written)


def test_labelled_rows_are_such_data(context: Context, backbone: nn.Module, tmp_path: Path) -> None:
    adapter = saved(context, backbone, tmp_path / "adapter", "lora")
    pd.DataFrame({"headline": ["評価 ± 2"]}).to_csv(tmp_path / "new.csv", index=False)
    result = CliRunner(charset="latin-1").invoke(main, ["predict", str(adapter), "--file", str(tmp_path / "new.csv")])
    assert result.exit_code == 0, result.output
    assert "評価 ± 2," in result.stdout_bytes.decode("utf-8")


def test_half_characters_are_read(context: Context, backbone: nn.Module, tmp_path: Path) -> None:
    """As cutting an emoji in two leaves them, or a terminal that does not write UTF-8."""
    adapter = saved(context, backbone, tmp_path / "adapter", "lora")
    result = CliRunner().invoke(
        main, ["predict", str(adapter), "--text", "caf\udce9 opens", "--text", "Chelsea \ud83d"]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].endswith("caf\\udce9 opens")


OLD = "warning: config {}: members is called num_selected now\n"
ADDED = "warning: a table is larger than it was\n"
PROGRESS = "trial  0 of 4  finished\n"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], OLD + PROGRESS + ADDED),
        (["--quiet"], "error: the disk is slow\n"),
        (["-v", "-q"], "error: the disk is slow\n"),
        (["-q", "--verbose"], "debug: tokens: read from a cache\n"),
    ],
)
@pytest.mark.parametrize(
    ("command", "called"), [("run", "slat_search.pipeline.run"), ("sensitivity", "slat_search.sensitivity.run")]
)
def test_messages_go_to_standard_error_and_the_answer_to_standard_output(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    shown: str,
    command: str,
    called: str,
) -> None:
    """Each once, though commands were called in this process before."""

    def work(*arguments: object, **given: object) -> RunFolder:
        log = logging.getLogger("slat_search.somewhere")
        log.debug("tokens: read from a cache")
        log.info(PROGRESS.strip())
        warnings.warn("a table is larger than it was", stacklevel=1)
        log.error("the disk is slow")
        return RunFolder(run)

    monkeypatch.setattr(called, work)
    config = tmp_path / "mine.yaml"
    config.write_text("search: {members: 2}")
    result = CliRunner().invoke(main, [command, str(config), *options])
    assert (result.exit_code, result.stdout) == (0, f"{TABLE}\n\n")
    lines = result.stderr.splitlines(keepends=True)
    for line in shown.format(config).splitlines(keepends=True):
        assert lines.count(line) == 1
    assert len(lines) == {"-q": 1, "--quiet": 1, "--verbose": 7}.get(options[-1] if options else "", 4)


def test_a_library_prints_nothing_of_its_own() -> None:
    code = "import logging, slat_search; logging.getLogger('slat_search.search.tune').warning('several nodes')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"", b"")
