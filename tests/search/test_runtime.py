from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slat_search import SlatError
from slat_search.config import Resources
from slat_search.search import runtime
from slat_search.search.processes import Processes
from slat_search.search.runtime import give_memory_back, ray_session

TWO_NODES = [
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
    {"Alive": True, "Resources": {"CPU": 4.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


CPU_HEAD = [
    {"Alive": True, "Resources": {"CPU": 96.0}},
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}},
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}},
]
FULL_NODE = [
    {"Alive": True, "Resources": {"CPU": 64.0}},
    {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 8.0}},
]
ONE_CPU_NODE = [{"Alive": True, "Resources": {"CPU": 4.0}}]


@pytest.mark.parametrize(
    ("nodes", "given", "expected"),
    [
        (TWO_NODES, {}, (2, 4, 1.0)),  # a GPU each, on the node that has them
        (TWO_NODES, {"concurrent_trials": 1}, (1, 8, 1.0)),  # a trial cannot span nodes
        (TWO_NODES, {"concurrent_trials": 4}, (4, 2, 0.5)),
        (TWO_NODES, {"concurrent_trials": 3}, (3, 2, 0.5)),  # of two thirds only one would fit on a GPU
        (TWO_NODES, {"concurrent_trials": 100}, (100, 1, 0.02)),
        (TWO_NODES, {"trials_per_gpu": 3}, (6, 1, 1 / 3)),
        (TWO_NODES, {"trials_per_gpu": 0, "cpus_per_trial": 2}, (1, 2, 0.0)),
        (TWO_NODES, {"trials_per_gpu": 0, "concurrent_trials": 3}, (3, 4, 0.0)),
        (TWO_NODES, {"trials_per_gpu": 0, "concurrent_trials": 4}, (4, 2, 0.0)),  # with 3 there is room for three
        (CPU_HEAD, {}, (2, 8, 1.0)),  # trials find no GPU on the head
        (FULL_NODE, {}, (8, 2, 1.0)),
        (ONE_CPU_NODE, {}, (1, 4, 0.0)),
        ([], {}, (1, 1, 0.0)),  # all nodes are yet to come
        (ONE_CPU_NODE, {"concurrent_trials": 2}, (2, 2, 0.0)),
        (ONE_CPU_NODE, {"concurrent_trials": 8, "trials_per_gpu": 2}, (8, 1, 0.5)),  # GPUs that are yet to come
    ],
)
def test_share_of_a_trial(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict], given: dict, expected: tuple[int, int, float]
) -> None:
    monkeypatch.setattr(runtime.ray, "nodes", lambda: nodes)
    share = runtime.share(Resources(**given))
    assert (share.concurrent, share.cpus, share.gpus) == expected


def test_no_cluster_there_is_one_sentence() -> None:
    with (
        pytest.raises(SlatError, match=r"--address: no Ray cluster answers at 127\.0\.0\.1:1"),
        ray_session("127.0.0.1:1"),
    ):
        pass


def test_an_address_of_the_environment_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(SlatError, match=r"^RAY_ADDRESS: no Ray cluster answers at 127\.0\.0\.1:1: "), ray_session():
        pass


@pytest.mark.parametrize("error", [RuntimeError("Version mismatch: 2.1\nand more"), ValueError("bad port"), OSError(5)])
def test_whatever_stops_a_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(**options: object) -> None:
        raise error

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(runtime.ray, "init", fail)
    with pytest.raises(SlatError) as told, ray_session():
        pass
    assert str(told.value).startswith(f"Ray does not start on this machine (it writes to {runtime.session_folder()}): ")
    with pytest.raises(SlatError, match="--address: no Ray cluster answers at auto: "), ray_session("auto"):
        pass
    assert "\n" not in str(told.value)


def test_what_a_failed_start_leaves_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def fail(**options: object) -> None:
        children.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
        raise RuntimeError("the raylet did not answer")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(runtime.ray, "init", fail)
    with pytest.raises(SlatError, match="the raylet did not answer"), ray_session():
        pass
    assert children[0].wait(timeout=10) == -signal.SIGKILL
    assert not Processes.at_work


def test_of_ray_s_logs_the_last_error_is_said() -> None:
    logs = (
        "Failed to start GCS.  Last 0 lines of error files:\nTraceback\n  File x\nray.exceptions.RpcError: no token\n"
    )
    assert runtime._cause(RuntimeError(logs)) == (
        "Failed to start GCS.  Last 0 lines of error files: ray.exceptions.RpcError: no token"
    )


LONG = "/tmp/" + "x" * 90


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "/tmp/ray"),
        ({"TMPDIR": ""}, "/tmp/ray"),
        ({"TMPDIR": "/var/tmp"}, "/var/tmp/ray"),
        ({"TMPDIR": LONG}, "/tmp/ray"),  # AF_UNIX: 107 bytes
        ({"TMPDIR": "/proc/1"}, "/tmp/ray"),
        ({"TMPDIR": LONG, "RAY_TMPDIR": "/var/tmp"}, "/var/tmp/ray"),
    ],
)
def test_sessions_go_where_sockets_fit(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], folder: str
) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(runtime.session_folder()) == folder


@pytest.mark.parametrize("given", [LONG, "/proc/1", "/dev/null"])
def test_a_folder_that_was_named_and_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("RAY_TMPDIR", given)
    with pytest.raises(SlatError, match=rf"RAY_TMPDIR: Ray needs a folder .* at most \d\d bytes.*; there is {given}"):
        runtime.session_folder()


REAL = """
import logging
from slat_search import SlatError
from slat_search.search.runtime import ray_session
import ray

with ray_session():
    assert ray.get(ray.remote(lambda: 41).options(num_cpus=1).remote()) == 41
assert not ray.is_initialized()

ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=logging.ERROR, _temp_dir="/tmp/ray")
here = ray.get_runtime_context().gcs_address  # of the caller's own
for address in (None, "auto", here):
    with ray_session(address):
        assert ray.get_runtime_context().gcs_address == here
        assert ray.cluster_resources()["CPU"] == 1
try:
    with ray_session("127.0.0.1:1"):
        raise AssertionError
except SlatError as error:
    assert str(error) == f"--address: this process has joined the Ray cluster at {here} already, not 127.0.0.1:1", error
assert ray.is_initialized()
"""


def test_a_ray_is_joined_or_started_in_spite_of_paths() -> None:
    """The caller's stays when a session ends; one of our own starts where the folder for temporary files has a long
    path and the home folder cannot be written."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"TMPDIR": LONG, "HOME": "/dev/null"}
    ran = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, env=environment, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(not Path("/lib64/ld-linux-x86-64.so.2").exists(), reason="another C library than GNU's")
def test_a_worker_gives_memory_back_between_trainings() -> None:
    """Half a gigabyte in small pieces, freed below one that stays: the C library keeps it all."""
    pieces = [b"x" * (64_000 + number) for number in range(8_000)]
    stays = b"x" * 64_000
    before = _resident()
    pieces.clear()
    give_memory_back()
    assert _resident() < before - 400 * 2**20
    assert stays


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
