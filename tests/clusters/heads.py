"""Heads of Ray clusters on this machine, ended without touching any other Ray here."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.whole import command_line, descendants

BINARIES = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """Addresses of a running head: of its cluster, and where jobs are submitted."""

    address: str
    jobs: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def head(*options: str, port: int | None = None, **environment: str) -> Iterator[Head]:
    """``ray start --head`` with ports and a token of its own; ends what it started, and nothing else."""
    port, jobs, client, agent = (port or free_port(), *(free_port() for _ in range(3)))
    place = tempfile.mkdtemp(prefix="slat-")  # short: sockets in it have paths of at most 107 characters
    command = [
        BINARIES / "ray", "start", "--head", "--block", f"--port={port}", f"--dashboard-port={jobs}",
        f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}", f"--temp-dir={place}",
        "--node-ip-address=127.0.0.1", "--object-store-memory=268435456", "--disable-usage-stats", *options,
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        path = f"{BINARIES}:{os.environ['PATH']}"
        everything = {**os.environ, **environment, "PATH": path}
        process = subprocess.Popen(command, env=everything, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield from _until_left(process, port, jobs, place)


def _until_left(process: subprocess.Popen, port: int, jobs: int, place: str) -> Iterator[Head]:
    try:
        for answers in (port, jobs):
            _wait(process, answers)
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{jobs}")
    finally:
        ours = [pid for pid in descendants(process.pid) if place in command_line(pid)]
        process.terminate()
        process.wait(timeout=60)
        for pid in ours:  # nodes that a fake autoscaler started outlive it
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)


def _wait(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "ray start ended"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def autoscaling(folder: Path, workers: int, port: int) -> tuple[list[str], dict[str, str]]:
    """Options and environment of a head at ``port`` that has no CPUs and starts up to so many nodes of one CPU.

    Ray's own fake provider: nodes are processes on this machine.
    """
    node_types = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": workers},
    }
    config = {
        "cluster_name": "fake",
        "max_workers": workers,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 30,  # the fake provider takes nodes for idle that are at work
        "provider": {"type": "fake_multinode", "disable_node_updaters": True, "gcs_address": f"127.0.0.1:{port}"},
        "available_node_types": node_types,
        "head_node_type": "ray.head.default",
        "auth": {"ssh_user": "nobody"},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in ("initialization", "setup", "head_setup", "worker_setup")},
        **{f"{node}_start_ray_commands": [] for node in ("head", "worker")},
    }
    path = folder / "autoscaler.json"
    path.write_text(json.dumps(config))
    environment = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    return [f"--autoscaling-config={path}", "--num-cpus=0"], environment
