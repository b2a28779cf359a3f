"""Start Ray quietly, and share its CPUs and GPUs out."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

# Read by Ray when its modules are imported or its workers start, so they are set before `import ray`.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # we draw our own progress
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a diverged trial has no metrics to report
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the run, not just the search
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a task without a GPU sees none
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import ray
import torch

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


@dataclass(frozen=True)
class Share:
    """What each of the concurrent trials gets.

    Attributes:
        concurrent: trials at the same time.
        cpus: of a trial.
        gpus: of a trial, a whole one or a part.
    """

    concurrent: int
    cpus: int
    gpus: float

    def take(self, cpus: int | None = None) -> None:
        """In a worker, keep to it: Ray counts CPUs and parts of GPUs and limits neither."""
        give_memory_back()
        torch.set_num_threads(cpus or self.cpus)
        if not self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        elif self.gpus < 1 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(self.gpus)


def give_memory_back() -> None:
    """Return what earlier trainings of this worker freed to the system, where the C library is GNU's.

    Batches of ever other lengths leave its heap full of holes that it keeps: of MiniLM's trainings half a gigabyte, and
    more with each.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def share(resources: Resources) -> Share:
    """A share of what the cluster has, and no more than one node has.

    Nodes that an autoscaler has yet to start are not there to be shared: set ``resources`` for them.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    per_gpu = resources.trials_per_gpu
    if per_gpu is None:
        per_gpu = math.ceil((resources.concurrent_trials or gpus) / gpus) if gpus else 0
    concurrent = resources.concurrent_trials or max(1, int(gpus * per_gpu))
    cpus = [node.get("CPU", 0.0) for node in nodes]
    of_all = min(max(cpus), sum(cpus) / concurrent)
    return Share(concurrent, resources.cpus_per_trial or max(1, int(of_all)), 1 / per_gpu if per_gpu else 0.0)
