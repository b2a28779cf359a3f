"""Kills at random moments of whole runs: driver, worker, raylet, GCS. The end is that of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.whole import LONG, assert_same, command_line, descendants, finish, start

KILLS = int(os.environ.get("KILLS", "30"))
SEED = int(os.environ.get("KILLS_SEED", "0"))
TARGETS = ("driver", "driver", "worker", "raylet", "gcs_server")
_OF_ONE_WORK = 3  # that a lost worker's work is tried again


def stage(out: Path) -> str:
    """What the run is at."""
    if (out / "results.csv").is_file():
        return "report"
    if list(out.glob("units/*.test.json")):
        return "tests"
    if list(out.glob("units/*.train.json")):
        return "trainings"
    return "search" if (out / "search" / "ledger.jsonl").is_file() else "start"


def victim(process: subprocess.Popen[str], target: str) -> int | None:
    """A process of that part, if there is one now."""
    if target == "driver":
        return process.pid
    for pid in descendants(process.pid):
        name = command_line(pid)
        is_worker = name.startswith("ray::") and "Agent" not in name and "IDLE" not in name
        if is_worker if target == "worker" else f"/{target} " in name:
            return pid
    return None


def kill_and_resume(config: Path, out: Path, longest: float, dice: random.Random, left: int) -> list[tuple[str, str]]:
    """A run that is killed at most ``left`` times and then goes on to its end; returns where and what was killed."""
    killed: list[tuple[str, str]] = []
    process = start(config, out, "--resume")
    while len(killed) < left:
        try:
            output, _ = process.communicate(timeout=dice.uniform(0, longest))
        except subprocess.TimeoutExpired:
            target = dice.choice(TARGETS)
            if target == "worker" and sum(what == "worker" for _, what in killed) == _OF_ONE_WORK:
                target = "driver"
            pid = victim(process, target)
            if pid is None:
                continue
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)
                killed.append((stage(out), target))
            if target != "worker":
                output, _ = process.communicate(timeout=200)
                assert "Traceback" not in output, (killed, output)
                process = start(config, out, "--resume")
        else:
            assert process.returncode == 0, (killed, output)
            return killed
    finish(process, LONG)
    return killed


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed(config: Path, tmp_path: Path) -> None:
    """``KILLS`` and ``KILLS_SEED`` in the environment ask for more kills, and for others."""
    began = time.monotonic()
    finish(start(config, tmp_path / "whole"), LONG)
    longest = time.monotonic() - began
    dice, killed = random.Random(SEED), Counter[tuple[str, str]]()
    while (left := KILLS - killed.total()) > 0:
        out = tmp_path / f"after-{killed.total()}"
        killed.update(kill_and_resume(config, out, longest, dice, left))
        for name in ("trials.csv", "results.csv", "comparison.csv", "perturbation.csv"):
            assert_same(tmp_path / "whole", out, name)
        assert (out / "report.html").is_file()
    print({f"{what} in {when}": times for (when, what), times in sorted(killed.items())})
