"""Start Ray quietly, and share its CPUs and GPUs out."""

from __future__ import annotations

import logging
import os
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
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
    except (ConnectionError, ValueError) as error:
        raise SlatError(f"--address: no Ray cluster answers at {address}: {error}") from error
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def per_trial(resources: Resources, concurrent: int) -> dict[str, float]:
    """CPUs and GPUs of each of ``concurrent`` trials, from what the cluster has."""
    have = ray.cluster_resources()
    cpus = resources.cpus_per_trial or max(1, int(have.get("CPU", 1)) // concurrent)
    gpus = resources.gpus_per_trial
    if gpus is None:
        gpus = min(1.0, have.get("GPU", 0.0) / concurrent)
    return {"CPU": cpus, "GPU": gpus}
