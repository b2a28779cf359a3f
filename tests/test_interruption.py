"""Signals of the system, and a Ray that is gone, end a run in order; real processes, a Ray of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slat_search.interruption import Interrupted, ended_by_signals, interrupted_by
from tests.conftest import tiny_config
from tests.whole import LONG, assert_same, command_line, descendants, finish, lines, start

SESSION = """
import os, time
from slat_search import SlatError
from slat_search.search.runtime import ray_session
import ray

try:
    with ray_session():
        task = ray.remote(lambda: time.sleep(1000)).remote()
        print("ready", flush=True)
        ray.get(task)
except (KeyboardInterrupt, SlatError) as error:
    print(type(error).__name__, error, flush=True)
"""


@pytest.fixture(autouse=True)
def _no_nohup() -> Iterator[None]:
    """Signals are as a program begins with, also where the tests were started with ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def session() -> subprocess.Popen[str]:
    """A process that waits for a task in a Ray of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", SESSION], stdout=pipe, stderr=pipe, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def part(process: subprocess.Popen[str], name: str) -> int:
    """The process of a part of its Ray."""
    return next(pid for pid in descendants(process.pid) if f"/{name} " in command_line(pid))


def check_gone(processes: dict[int, str]) -> None:
    """They are killed at last, and the system takes a moment to remove them."""
    deadline = time.monotonic() + 5
    while left := {pid: name for pid, name in processes.items() if command_line(pid) == name}:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def listening(pids: set[int]) -> set[str]:
    """Addresses in hexadecimal on which processes listen."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(handle)))
            except OSError:
                continue
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("SIGTERM", "Interrupted SIGTERM"),
        ("SIGHUP", "Interrupted SIGHUP"),
        ("raylet", "RayLostError Ray has ended: its raylet does not answer any more"),
        pytest.param(
            *("gcs_server", "RayLostError Ray has ended: its GCS does not answer any more"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_session_ends_in_one_sentence_and_nothing_of_ray_outlives_it(what: str, told: str) -> None:
    process = session()
    of_ray = {pid: command_line(pid) for pid in descendants(process.pid)}
    assert len(of_ray) >= 3
    if what.startswith("SIG"):
        process.send_signal(getattr(signal, what))
    else:
        os.kill(part(process, what), signal.SIGKILL)
    output, errors = process.communicate(timeout=100)
    assert output.startswith(told), (output, errors)
    assert output.count("\n") == 1, output
    assert "Traceback" not in errors
    assert process.returncode == 0
    check_gone(of_ray)


def test_a_ray_of_our_own_listens_on_this_machine_alone() -> None:
    process = session()
    pids = {process.pid, *descendants(process.pid)}
    found = listening(pids)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert found
    assert found <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_a_signal_is_an_interruption_once() -> None:
    def twice() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # while the first is seen to

    with pytest.raises(Interrupted, match="SIGTERM") as caught, ended_by_signals():
        twice()
    assert caught.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_makes_a_plain_interruption_of_a_signal_is_seen_through() -> None:
    def as_ray_does() -> None:
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    with pytest.raises(Interrupted, match="SIGHUP"), ended_by_signals():
        as_ray_does()
    with pytest.raises(ValueError, match="gone"), interrupted_by(lambda: ValueError("gone")) as interrupt:
        interrupt()


def test_signals_of_others_stay_theirs() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration of few steps, and its run, which nobody disturbed."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "small.yaml").write_text(tiny_config().to_yaml())
    finish(start(folder / "small.yaml", folder / "whole"), LONG)
    return folder / "small.yaml", folder / "whole"


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "search": lambda out: lines(out / "search" / "rungs.jsonl") >= 1,
    "trainings": lambda out: bool(list(out.glob("units/*.train.json"))),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "moment", "code", "told"),
    [
        ("SIGTERM", "search", 143, "interrupted by SIGTERM; everything finished is kept: continue with --resume"),
        ("SIGHUP", "trainings", 129, "interrupted by SIGHUP; everything finished is kept: continue with --resume"),
        ("raylet", "search", 2, "error: Ray has ended: its raylet does not answer any more"),
        ("gcs_server", "trainings", 2, "error: Ray has ended: its GCS does not answer any more"),
    ],
)
def test_a_run_ends_in_one_sentence_and_is_resumed_as_if_never_left(
    tiny: tuple[Path, Path], tmp_path: Path, what: str, moment: str, code: int, told: str
) -> None:
    config, whole = tiny
    out = tmp_path / "run"
    process = start(config, out)
    while not MOMENTS[moment](out):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    of_ray = {pid: command_line(pid) for pid in descendants(process.pid)}
    if what.startswith("SIG"):
        process.send_signal(getattr(signal, what))
    else:
        os.kill(part(process, what), signal.SIGKILL)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == code, output
    assert output.splitlines()[-1].startswith(told), output
    assert "Traceback" not in output
    check_gone(of_ray)
    finish(start(config, out, "--resume"), LONG)
    for name in ("trials.csv", "history.csv", "results.csv"):
        assert_same(whole, out, name)
