"""``slat doctor`` on this machine, and on one that lacks things."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from slat_search import doctor
from slat_search.cli import main
from slat_search.models import registry as models


def found(text: str) -> dict[str, tuple[str, str]]:
    """Name of each thing -> mark and what was said of it."""
    lines = [re.split(r"\s{2,}", line, maxsplit=2) for line in text.splitlines()]
    return {name: (mark, said) for mark, name, said in lines}


@pytest.mark.slow
def test_a_machine_that_can_run() -> None:
    ran = subprocess.run([sys.executable, "-m", "slat_search", "doctor"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    things = found(ran.stdout)
    assert all(mark in ("ok", "note") for mark, _ in things.values())
    assert things["model minilm"] == things["embedded text"] == ("ok", "there")
    assert re.search(r"starts in .* 1 node\(s\), \d+ CPUs", things["Ray"][1])
    assert re.search(r"bfloat16 takes \d\.\d\d of its time in float32", things["precision"][1])
    assert "ray 2." in things["versions"][1]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken_port:
        taken_port.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers
        address = f"127.0.0.1:{taken_port.getsockname()[1]}"
        lost = replace(models.EMBEDDED_MODELS["minilm"], packages=("no_such_package",))
        monkeypatch.setitem(models.EMBEDDED_MODELS, "minilm", lost)
        usage = SimpleNamespace(total=100 * 2**30, used=99 * 2**30, free=2**30)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
        result = CliRunner().invoke(main, ["doctor", "--address", address])
    assert result.exit_code == 1
    things = found(result.stdout)
    assert things["model minilm"][0] == "note"
    assert "pip install slat-search[offline]" in things["model minilm"][1]
    assert things["disk"] == (
        "problem",
        "this folder 1.0 GiB free (99% full), Ray's 1.0 GiB free (99% full); make room",
    )
    assert things["Ray"][0] == "problem"
    assert f"no Ray cluster answers at {address}" in things["Ray"][1]


def test_a_ray_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/dev/null")
    for finding in (doctor._ray(None), doctor._disk()):
        assert finding.mark == "problem"
        assert finding.detail.startswith("RAY_TMPDIR: Ray needs a folder that it can write to")
