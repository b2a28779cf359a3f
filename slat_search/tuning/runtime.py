"""Start Ray quietly, and share its CPUs and GPUs out."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Read by Ray when its modules are imported or its workers start, so they are set before `import ray`.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # we draw our own progress
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a diverged trial has no metrics to report
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the run, not just the search
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import ray

from ..config import Resources
from ..errors import SlatError

_OBJECT_STORE_BYTES = 512 * 2**20


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """A Ray of our own on this machine, or the cluster at ``address``; shut down afterwards.

    Raises:
        SlatError: no cluster answers at ``address``.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _probe(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
    except (OSError, ValueError) as error:
        raise SlatError(f"--address: no Ray cluster answers at {address}: {error}") from error
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """Knock at ``host:port`` once; Ray itself would wait for minutes before it gives up.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def per_trial(resources: Resources, concurrent: int) -> dict[str, float]:
    """CPUs and GPUs of each of ``concurrent`` trials: a share of what the cluster has, and no more than one node has.

    Nodes that an autoscaler has yet to start are not there to be shared: set ``resources`` for them.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def share(kind: str) -> float:
        return min(max(node.get(kind, 0.0) for node in nodes), sum(node.get(kind, 0.0) for node in nodes) / concurrent)

    cpus = resources.cpus_per_trial or max(1, int(share("CPU")))
    gpus = resources.gpus_per_trial if resources.gpus_per_trial is not None else min(1.0, share("GPU"))
    return {"CPU": cpus, "GPU": gpus}
