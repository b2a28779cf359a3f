"""Heartbeats of workers: each forward pass is one, in training and in evaluation.

A worker leaves them in the key-value store of Ray's head, about one a second; the driver reads them there.
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

_SPACE = b"slat"
_EVERY = 1.0  # seconds between two signs that are left


@dataclass(frozen=True)
class Heartbeat:
    """Heartbeat of a worker.

    Attributes:
        count: forward passes so far; none at the beginning.
        slowest: seconds of the longest pause between two of them.
        process, node, host: where it is.
    """

    count: int
    slowest: float
    process: int
    node: str
    host: str


def this_node() -> str:
    """Return the number of this machine in Ray."""
    return str(ray.get_runtime_context().get_node_id())


@contextmanager
def heartbeat(model: nn.Module, key: str) -> Iterator[None]:
    """Leave a sign of life under ``key`` for forward passes of ``model`` in the block, and one when it begins."""
    node, host = this_node(), socket.gethostname()
    count, slowest, last, left = 0, 0.0, time.monotonic(), 0.0

    def leave() -> None:
        value = Heartbeat(count, slowest, os.getpid(), node, host)
        with suppress(Exception):  # of a head that is busy; if it is gone, Ray ends this process
            _internal_kv_put(key.encode(), json.dumps(asdict(value)).encode(), overwrite=True, namespace=_SPACE)

    def beat(module: nn.Module, args: Any) -> None:
        nonlocal count, slowest, last, left
        now = time.monotonic()
        slowest = max(slowest, now - last) if count else 0.0
        count, last = count + 1, now
        if now - left >= _EVERY:
            left = now
            leave()

    leave()
    hook = model.register_forward_pre_hook(beat)
    try:
        yield
    finally:
        hook.remove()


def read_heartbeat(key: str) -> Heartbeat | None:
    """Return the last heartbeat of a worker; None if none has begun the work."""
    raw = _internal_kv_get(key.encode(), namespace=_SPACE)
    return Heartbeat(**json.loads(raw)) if raw else None


def remove_heartbeats(prefix: str) -> None:
    """Remove all heartbeats under a key prefix."""
    with suppress(Exception):  # of a Ray that is gone, with all of them
        _internal_kv_del(prefix.encode(), del_by_prefix=True, namespace=_SPACE)


def end_worker(heartbeat: Heartbeat) -> bool:
    """Kill the process of a worker, on whichever node; Ray then tries its work again. Returns whether it was there."""
    if heartbeat.node == this_node():
        return _kill(heartbeat.process)
    there = NodeAffinitySchedulingStrategy(heartbeat.node, soft=False)
    kill = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(_kill)
    try:
        return bool(ray.get(kill.remote(heartbeat.process), timeout=60))
    except ray.exceptions.RayError:  # the node is gone, or does not answer; Ray sees to what ran there
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
