"""The token of a Ray of our own is for its user alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from slat_search.search.auth import keep_token


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the token lies of a user who has none yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_token_is_private_and_stays(token: Path) -> None:
    keep_token()
    first = token.read_text()
    assert mode(token) == 0o600
    assert len(first) == 64
    keep_token()
    assert token.read_text() == first
    assert os.listdir(token.parent) == [token.name]


def test_one_that_ray_wrote_for_all_to_read_is_closed(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("that of Ray")
    token.chmod(0o644)
    keep_token()
    assert (token.read_text(), mode(token)) == ("that of Ray", 0o600)


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_of_the_users_choice_is_left_alone(token: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "theirs")
    keep_token()
    assert not token.parent.exists()


def test_without_a_home_to_write_in_it_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/nobody")  # not even root can make a folder there
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is put back after the test
    keep_token()
    first = os.environ["RAY_AUTH_TOKEN"]
    assert len(bytes.fromhex(first)) == 32
    keep_token()
    assert os.environ["RAY_AUTH_TOKEN"] == first


def test_one_that_others_own_keeps_its_modes(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token.parent.mkdir()
    token.write_text("shared by a group")
    token.chmod(0o640)
    monkeypatch.setattr(os, "getuid", lambda: os.stat(token).st_uid + 1)
    keep_token()
    assert (token.read_text(), mode(token)) == ("shared by a group", 0o640)


def test_without_links_and_beside_another_process(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def taken(_: object, path: Path) -> None:
        path.write_text("quicker")
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", refuse)
    keep_token()
    assert mode(token) == 0o600
    token.unlink()
    monkeypatch.setattr(os, "link", taken)
    keep_token()
    assert token.read_text() == "quicker"
    assert os.listdir(token.parent) == [token.name]


def test_ray_takes_it(token: Path) -> None:
    code = """
import os, ray
from slat_search.search.runtime import ray_session
with ray_session():
    print(ray.get(ray.remote(lambda: 7).remote()))
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "7\n", done.stderr
    assert mode(token) == 0o600
