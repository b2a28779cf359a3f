"""Whole runs through the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd

SLAT = str(Path(sys.executable).with_name("slat"))
LONG = 1500  # seconds that a run may take on a machine that is busy
TIMES = ["seconds", "train_seconds", "seconds_per_text", "seconds_of_one", "memory"]  # what no two runs have alike


def _hear_ctrl_c() -> None:
    """Where the tests themselves run in the background of a shell, Ctrl-C is ignored, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(
    config: Path,
    out: Path,
    *options: str,
    command: str = "run",
    output: int = subprocess.PIPE,
    cwd: Path | None = None,
    **environment: str,
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SLAT, command, str(config), "--out", str(out), *options],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        cwd=cwd,
        preexec_fn=_hear_ctrl_c,
    )


def finish(process: subprocess.Popen[str], seconds: float = 900) -> str:
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def kill_when(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """SIGKILL as soon as something is there; Ray's own processes end by themselves after that."""
    deadline = time.monotonic() + 200
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


def assert_same(one: Path, two: Path, name: str) -> None:
    frames = [pd.read_csv(folder / name) for folder in (one, two)]
    left, right = (f.drop(columns=[c for c in TIMES if c in f]) for f in frames)
    pd.testing.assert_frame_equal(left, right)


def command_line(pid: int) -> str:
    """What a process is called; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def all_of(terminal: int) -> str:
    """What was written to a pseudo-terminal whose other end is closed; one read gives what one wants to give."""
    parts = []
    with suppress(OSError):  # as the end is told on Linux
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


def descendants(pid: int) -> list[int]:
    """Processes that it started, and those that they started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    result = children.get(pid, [])
    return [*result, *(grandchild for child in result for grandchild in descendants(child))]
