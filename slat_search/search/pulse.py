"""Heartbeats of workers: each forward pass is one, in training and in evaluation.

A worker writes them to the key-value store of Ray's head, about one per second; the driver reads them there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import nn

_NAMESPACE = b"slat"
_INTERVAL = 1.0  # seconds between two heartbeats that are written


@dataclass(frozen=True)
class Heartbeat:
    """Heartbeat of a worker.

    Attributes:
        count: forward passes so far; 0 at the beginning.
        slowest: seconds of the longest pause between two of them.
        process, node, host: of the worker.
    """

    count: int
    slowest: float
    process: int
    node: str
    host: str


def this_node() -> str:
    """Return Ray's id of this machine."""
    return str(ray.get_runtime_context().get_node_id())


@contextmanager
def heartbeat(model: nn.Module, key: str) -> Iterator[None]:
    """Write heartbeats under ``key`` for forward passes of ``model`` in the block, and one at its beginning."""
    node, host = this_node(), socket.gethostname()
    count, slowest, last_pass, last_sent = 0, 0.0, time.monotonic(), 0.0

    def send() -> None:
        sign = Heartbeat(count, slowest, os.getpid(), node, host)
        with suppress(Exception):  # the head is busy; if it has ended, Ray ends this process
            _internal_kv_put(key.encode(), json.dumps(asdict(sign)).encode(), overwrite=True, namespace=_NAMESPACE)

    def beat(module: nn.Module, args: Any) -> None:
        nonlocal count, slowest, last_pass, last_sent
        now = time.monotonic()
        slowest = max(slowest, now - last_pass) if count else 0.0
        count, last_pass = count + 1, now
        if now - last_sent >= _INTERVAL:
            last_sent = now
            send()

    send()
    hook = model.register_forward_pre_hook(beat)
    try:
        yield
    finally:
        hook.remove()


def read_heartbeat(key: str) -> Heartbeat | None:
    """Return the last heartbeat of a worker; None if no worker has begun."""
    raw = _internal_kv_get(key.encode(), namespace=_NAMESPACE)
    return Heartbeat(**json.loads(raw)) if raw else None


def remove_heartbeats(prefix: str) -> None:
    """Remove all heartbeats under a key prefix."""
    with suppress(Exception):  # Ray has ended, and with it all heartbeats
        _internal_kv_del(prefix.encode(), del_by_prefix=True, namespace=_NAMESPACE)


def end_worker(heartbeat: Heartbeat) -> bool:
    """Kill the process of a worker on any node; Ray then retries its work. Returns whether the process existed."""
    if heartbeat.node == this_node():
        return _kill(heartbeat.process)
    strategy = NodeAffinitySchedulingStrategy(heartbeat.node, soft=False)
    kill = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=strategy)(_kill)
    try:
        return bool(ray.get(kill.remote(heartbeat.process), timeout=60))
    except ray.exceptions.RayError:  # the node is lost or does not answer; Ray retries its work
        return False


def _kill(process: int) -> bool:
    """Kill a process if it is still a worker of Ray."""
    try:
        if not Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::"):
            return False
        os.kill(process, signal.SIGKILL)
    except OSError:
        return False
    return True
