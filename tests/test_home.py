"""A home folder that cannot be written stops nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slat_search.home import do_without_home, writable

NAMES = ("HF_HOME", "HF_DATASETS_CACHE", "SLAT_CACHE", "XDG_CACHE_HOME")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def named() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_a_home_that_can_be_written_stays(home: Path) -> None:
    do_without_home()
    assert named() == {}


@pytest.mark.parametrize("place", ["/dev/null", "/proc/1", "/proc/1/none/such"])
def test_caches_move_where_it_cannot(home: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("HOME", place)
    do_without_home()
    assert set(named()) == {"HF_HOME", "SLAT_CACHE"}
    assert all(writable(Path(folder)) for folder in named().values())


def test_what_the_user_set_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    do_without_home()
    assert named() == {"HF_HOME": "/models", "XDG_CACHE_HOME": str(home)}


def test_models_that_are_there_to_be_read_stay(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".cache/huggingface").mkdir(parents=True)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(home) not in str(path) and real(path, mode))
    do_without_home()
    assert set(named()) == {"HF_DATASETS_CACHE", "SLAT_CACHE"}


def test_tasks_of_files_are_read_without_a_home(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(60)))
    (tmp_path / "mine.yaml").write_text("task: {name: mine, train: mine.csv}")
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | {"HOME": "/dev/null"}
    command = [sys.executable, "-m", "slat_search", "tasks", str(tmp_path / "mine.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "mine: 2 classes" in result.stdout
