from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from slat_search import SlatError
from slat_search.cli import main
from slat_search.cli.group import _Commands
from slat_search.config import check_secrets, differences, load_config
from slat_search.redaction import is_redacted, redact
from slat_search.run_folder import RunFolder
from slat_search.search.checkpoints import Storage
from tests.conftest import small_config

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"s3://KEY:{SECRET}@bucket/runs?region=eu", "s3://***@bucket/runs?region=eu"),
        (f"s3://KEY:a/{SECRET}+/b@bucket/runs", "s3://***@bucket/runs"),
        (f"s3:/KEY:{SECRET}@bucket", "s3:/***@bucket"),  # as `Path` has it
        (f"http://user:{SECRET}@host:5000/a", "http://***@host:5000/a"),
        (f"http://user:p?#@{SECRET}@host/a", "http://***@host/a"),
        (f"https://{SECRET}@host/a", "https://***@host/a"),
        (f"https://host/a?token={SECRET}&version=2", "https://host/a?token=***&version=2"),
        (
            f"https://host/a?X-Amz-Signature={SECRET}#access_token={SECRET}",
            "https://host/a?X-Amz-Signature=***#access_token=***",
        ),
        (f"https://host/a?{SECRET}", "https://host/a?***"),
        (f"mysql+pymysql://u:{SECRET}@h/db", "mysql+pymysql://***@h/db"),
        (f"('http://u:{SECRET}@h/x', 3)", "('http://***@h/x', 3)"),
    ],
)
def test_secrets_of_uris_are_left_out(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown
    assert is_redacted(shown)
    assert str(SlatError(f"x: {text}: no such")) == f"x: {shown}: no such"


@pytest.mark.parametrize(
    "text", ["see https://host/a.b and s3://bucket/c, ok", "http://localhost:5000/", "https://h/@user/a", "C:/a", "a@b"]
)
def test_other_text_stays(text: str) -> None:
    assert redact(text) == text
    assert not is_redacted(text)


def test_a_long_text_takes_no_time_of_its_square() -> None:
    assert redact("a" * 5_000_000 + ":/") != SECRET


def test_a_storage_that_cannot_be_opened_is_told_without_its_secret(tmp_path: Path) -> None:
    with pytest.raises(SlatError, match=r"--storage: cannot write to nowhere://\*\*\*@bucket") as caught:
        Storage(tmp_path, f"nowhere://KEY:{SECRET}@bucket/runs?token={SECRET}")
    assert SECRET not in str(caught.value)


def test_a_run_keeps_no_secret_and_the_same_address_goes_on(tmp_path: Path) -> None:
    place = f"https://user:{SECRET}@host/data?token={SECRET}"
    config = small_config(task={"name": "mine", "hub": place})

    class Nothing:
        def write(self, path: Path) -> None:
            path.write_text("{}")

    folder = RunFolder(tmp_path / "run")
    folder.root.mkdir()
    folder.begin(config, Nothing())
    for path in folder.root.iterdir():
        assert SECRET not in path.read_text(), path
    kept = load_config(folder / "config.yaml", stored=True)
    assert differences(kept, config) == []
    assert not folder.already_done(config, resume=True)
    check_secrets(config)
    with pytest.raises(SlatError, match=r"task\.hub: https://\*\*\*@host/data\?token=\*\*\* is the copy that a run"):
        check_secrets(kept)


def test_the_kept_copy_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("task: {name: a, hub: 'https://***@host/data'}\nname: a\n")
    ran = CliRunner().invoke(main, ["run", str(tmp_path / "a.yaml"), "--out", str(tmp_path / "run")])
    assert ran.exit_code == 2
    assert "give the address with its secret" in ran.stderr


def test_logs_and_tracebacks_of_the_command_line_are_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        logging.getLogger("slat_search.x").warning("writes to %s", f"s3://KEY:{SECRET}@bucket")
        try:
            raise OSError(5, "Input/output error", f"http://user:{SECRET}@host/1")
        except OSError as error:
            raise ValueError(f"http://user:{SECRET}@host/2") from error

    monkeypatch.setattr(_Commands, "resolve_command", lambda self, ctx, args: broken())
    ran = CliRunner().invoke(main, ["doctor"])
    assert ran.exit_code == 1
    assert SECRET not in ran.output
    assert "writes to s3://***@bucket" in ran.stderr
    assert "ValueError: http://***@host/2" in ran.stderr
    assert re.search(r"Errno 5.*http://\*\*\*@host/1", ran.stderr)


def test_a_wrong_argument_is_told_without_its_secret() -> None:
    ran = CliRunner().invoke(main, ["doctor", f"s3://KEY:{SECRET}@bucket"])
    assert ran.exit_code == 2
    assert SECRET not in ran.output
