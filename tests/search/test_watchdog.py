from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from slat_search.search.pulse import Heartbeat
from slat_search.search.watchdog import Watchdog
from tests.conftest import tiny_config
from tests.whole import LONG, assert_same, command_line, descendants, finish, lines, start

FIRST = Heartbeat(0, 0.0, 1, "node", "host")


class Work:
    """A worker by its signs of life, and the time."""

    def __init__(self, patience: float | None = None):
        self.now, self.sign, self.ended, self.busy = 0.0, {}, [], set()
        self.dog = Watchdog("trainings", patience, lambda: self.now, self.read, self.end, lambda: self.busy)

    def read(self, key: str) -> Heartbeat | None:
        return self.sign.get(key)

    def end(self, heartbeat: Heartbeat) -> bool:
        self.ended.append(heartbeat)
        return True

    def leave(self, name: str, **fields: float) -> None:
        key = self.dog.key(name)
        self.sign[key] = replace(self.sign.get(key, FIRST), **fields)

    def wait(self, seconds: float, *names: str) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 5
            self.dog.check(names)


@pytest.mark.parametrize(
    ("patience", "count", "slowest", "limit"),
    [(None, 0, 0.0, 1800), (None, 3, 2.0, 600), (None, 3, 60.0, 3000), (120.0, 0, 0.0, 120), (120.0, 3, 60.0, 120)],
)
def test_a_worker_is_ended_when_its_time_is_over_and_once(
    patience: float | None, count: int, slowest: float, limit: float
) -> None:
    work = Work(patience)
    work.leave("lora", count=count, slowest=slowest)
    work.wait(limit, "lora")
    assert work.ended == []
    work.wait(10, "lora")
    assert len(work.ended) == 1
    work.wait(10 * limit, "lora")  # Ray has yet to find another worker
    assert len(work.ended) == 1
    work.leave("lora", count=0, process=2)
    work.wait(1900, "lora")
    assert [heartbeat.process for heartbeat in work.ended] == [1, 2]


def test_who_shows_signs_of_life_is_left_alone() -> None:
    work = Work()
    for count in range(50):
        work.leave("lora", count=count)
        work.wait(590, "lora", "waits for a worker")
    assert work.ended == []


def test_a_worker_that_never_begins_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slat_search.search.watchdog.this_node", lambda: "here")
    work = Work(120.0)
    work.leave("lora", count=1)
    for count in range(60):  # as one works, another stands still before its first sign
        work.leave("lora", count=count)
        work.busy = {1, 7}
        work.wait(5, "lora", "bitfit")
    assert [heartbeat.process for heartbeat in work.ended] == [7]


def test_long_waits_are_told(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.leave("lora", count=1)
    with caplog.at_level(logging.INFO, "slat_search"):
        work.wait(290, "lora", "bitfit")
        assert caplog.messages == []
        work.wait(20, "lora", "bitfit")
        assert caplog.messages == ["trainings: waiting for lora (last step 5 min ago), bitfit (no worker is free yet)"]
        work.dog.note_progress()
        work.wait(290, "lora", "bitfit")
        assert len(caplog.messages) == 1
        work.wait(60, "lora", "bitfit")
    assert caplog.messages[1:] == [
        "trainings: no step of lora for 10 min; its worker (process 1 on host) is ended, and it is tried again"
    ]


OTHERS = """
import os, sys, time
import ray
from slat_search.search.processes import busy_workers
from slat_search.search.runtime import ray_session
from tests.whole import command_line, descendants

def _train(seconds):
    time.sleep(seconds)

def begin():
    task = ray.remote(_train).remote(1000)
    deadline = time.monotonic() + 60
    while not any(command_line(pid).startswith("ray::_train") for pid in descendants(os.getpid())):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return task

if sys.argv[1] == "theirs":
    ray.init(address="local", include_dashboard=False, log_to_driver=False, num_cpus=1)
    task = begin()
with ray_session():
    task = task if sys.argv[1] == "theirs" else begin()
    print(len(busy_workers()))
print(len(busy_workers()))
"""


@pytest.mark.parametrize(("whose", "within"), [("ours", 1), pytest.param("theirs", 0, marks=pytest.mark.slow)])
def test_workers_of_a_ray_that_the_caller_has_started_are_not_ours_to_end(whose: str, within: int) -> None:
    done = subprocess.run([sys.executable, "-c", OTHERS, whose], capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == [str(within), "0"], done.stderr[-2000:]


@pytest.mark.slow
def test_workers_that_stand_still_are_ended_and_the_end_is_the_same(tmp_path: Path) -> None:
    """A trial and a training are stopped, as by a deadlock; the rest of the run is as if nothing had been."""
    (tmp_path / "small.yaml").write_text(tiny_config().to_yaml())
    finish(start(tmp_path / "small.yaml", tmp_path / "whole"), LONG)
    out = tmp_path / "run"
    process = start(tmp_path / "small.yaml", out, "--set", "resources.patience=90s")
    for worker, moment in (
        ("ray::ImplicitFunc", lambda: lines(out / "search" / "rungs.jsonl") >= 1),
        ("ray::_train", lambda: (out / "trials.csv").exists()),
    ):
        stopped: list[int] = []
        while not stopped:
            assert process.poll() is None, process.communicate()[0]
            if moment():
                stopped = [pid for pid in descendants(process.pid) if command_line(pid).startswith(worker)]
            time.sleep(0.02)
        os.kill(stopped[0], signal.SIGSTOP)
    output = finish(process, LONG)
    assert re.search("warning: search: (no step of trial-|a worker)", output)
    assert "lost its worker, and is tried again" in output
    assert re.search("warning: trainings: (no step of|a worker)", output)  # it may not have begun yet
    for name in ("trials.csv", "history.csv", "results.csv"):
        assert_same(tmp_path / "whole", out, name)
