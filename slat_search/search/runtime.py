"""Start Ray quietly and allocate its CPUs and GPUs."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

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
from ray._private import ray_constants
from ray._private import worker as ray_worker

from ..config import Resources
from ..errors import SlatError
from ..home import writable
from ..interruption import ended_by_signals, handlers_kept
from .auth import keep_token
from .lifeline import Lifeline
from .processes import Processes

_OBJECT_STORE_BYTES = 512 * 2**20
_SOCKET_PATH = 107 if sys.platform == "linux" else 103  # bytes of a path that a Unix socket can have


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Use the Ray that this process has joined already, the cluster at ``address``, or one started on this machine.

    It is shut down afterwards, unless the caller had joined it. SIGTERM and SIGHUP end the block as Ctrl-C does.

    Raises:
        SlatError: no cluster answers at ``address``, the caller has joined another, no Ray starts here, or Ray ended
            within the block.
    """
    is_joined = ray.is_initialized()
    cluster = address or os.environ.get("RAY_ADDRESS")
    is_own, processes = not is_joined and cluster in (None, "", "local"), Processes()
    with handlers_kept(), processes.record() if is_own else nullcontext():
        if is_joined:
            _check_joined(address)
        elif is_own:
            _start()
        else:
            _join(str(cluster), "--address" if address else "RAY_ADDRESS")
    send_code_of_models()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # our own reporter reports on trials
    try:
        is_client = str(cluster).startswith("ray://")  # it sees neither raylet nor GCS
        with ended_by_signals(), nullcontext() if is_client else Lifeline(is_own).watched():
            yield
    finally:
        if is_own:
            processes.refresh()
        if not is_joined:
            ray.shutdown()
        if is_own:
            processes.end()


def _check_joined(address: str | None) -> None:
    """Refuse an address that is clearly not that of the cluster which this process has joined."""
    _, _, port = (address or "").rpartition(":")
    if not port.isdigit() or "://" in str(address):
        return
    joined_address = ray.get_runtime_context().gcs_address
    if port != joined_address.rpartition(":")[2]:
        raise SlatError(
            f"--address: this process has joined the Ray cluster at {joined_address} already, not {address}"
        )


def _join(address: str, source: str) -> None:
    try:
        _probe(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many kinds: nobody there, another version, a wrong token
        raise SlatError(f"{source}: no Ray cluster answers at {address}: {_cause(error)}") from error


def _start() -> None:
    folder = session_folder()
    keep_token()
    try:
        with _on_loopback():
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
            )
        ray_worker._worker_logs_enabled = False  # else Ray prints log files of a raylet that ended to standard output
    except Exception as error:  # of many kinds: ports, memory, limits of processes and files
        raise SlatError(f"Ray does not start on this machine (it writes to {folder}): {_cause(error)}") from error


def send_code_of_models() -> None:
    """Send the code of models that have their own to workers, which have no folder to import it from."""
    for name, module in list(sys.modules.items()):
        if name.startswith("transformers_modules.") and getattr(module, "__file__", None):
            ray.cloudpickle.register_pickle_by_value(module)


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let a Ray that starts in the block listen on 127.0.0.1 alone.

    Ray takes ``_node_ip_address="127.0.0.1"`` for the address by which others reach this machine. Its mode for systems
    without clusters is the only way to loopback (Ray 2.60); a version without that mode listens on any address, behind
    its token.
    """
    setting = getattr(ray_constants, "ENABLE_RAY_CLUSTER", None)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = setting


def session_folder() -> Path:
    """Return the folder for sessions of a Ray that we start.

    It is ``RAY_TMPDIR`` where that is set, else a folder for temporary files. It must be writable, and its path short
    enough for sockets.

    Raises:
        SlatError: no folder fits.
    """
    room = _SOCKET_PATH - len(f"/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store")
    tmpdir = os.environ.get("RAY_TMPDIR")
    folders = [tmpdir] if tmpdir else [os.environ.get("TMPDIR") or "/tmp", "/tmp", "/var/tmp", "/dev/shm"]
    for folder in (Path(folder).absolute() for folder in folders):
        if len(os.fsencode(folder)) <= room and writable(folder / "ray"):
            return folder / "ray"
    requirement = f"a folder that it can write to, with a path of at most {room} bytes, for the sockets in it"
    raise SlatError(f"RAY_TMPDIR: Ray needs {requirement}; there is {', '.join(folders)}")


def _cause(error: Exception) -> str:
    """Return Ray's message in one line, with the last error of the log files that it quotes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    errors = [line for line in lines[1:] if re.match(r"[\w.]*(Error|Exception): ", line)]
    return f"{lines[0]} {errors[-1]}" if lines[0].endswith(":") and errors else lines[0]


def _probe(address: str) -> None:
    """Try ``host:port`` once; Ray itself would wait for minutes.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@dataclass(frozen=True)
class Share:
    """Resources of each of the concurrent trials.

    Attributes:
        concurrent: trials at the same time.
        cpus: of a trial.
        gpus: of a trial, a whole number or a fraction.
    """

    concurrent: int
    cpus: int
    gpus: float

    def take(self, cpus: int | None = None) -> None:
        """Enforce these resources in a worker: Ray counts CPUs and fractions of GPUs but limits neither."""
        give_memory_back()
        torch.set_num_threads(cpus or self.cpus)
        if not self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        elif self.gpus < 1 and torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(self.gpus)


def give_memory_back() -> None:
    """Return memory that earlier trainings of this worker freed to the system, where the C library is GNU's.

    Batches of varying lengths fragment its heap, which then keeps freed memory: half a gigabyte after a training of
    MiniLM, and more after each further one.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def share(resources: Resources) -> Share:
    """Return the resources of each concurrent trial on the cluster, at most those of one node.

    Nodes that an autoscaler has yet to start are not counted: set ``resources`` for them.
    """
    return share_of(resources, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def this_node() -> dict[str, float]:
    """Return the CPUs and GPUs of this machine, without starting Ray."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"CPU": float(cpus), "GPU": float(torch.cuda.device_count())}


def share_of(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> Share:
    """Return the resources of each concurrent trial on ``nodes``, each a mapping of resource name -> amount."""
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    per_gpu = resources.trials_per_gpu
    if per_gpu is None:
        per_gpu = math.ceil((resources.concurrent_trials or gpus) / gpus) if gpus else 0
    concurrent = resources.concurrent_trials or max(1, int(gpus * per_gpu))
    cpus = _cpus(nodes, concurrent, per_gpu if gpus else 0)
    return Share(concurrent, resources.cpus_per_trial or max(1, cpus), 1 / per_gpu if per_gpu else 0.0)


def _cpus(nodes: Sequence[Mapping[str, float]], concurrent: int, per_gpu: int) -> int:
    """Return the most CPUs per trial with which all concurrent trials fit, 0 if there is no such number.

    They run on the nodes with GPUs, with ``per_gpu`` trials per GPU, or without GPUs on all nodes.
    """
    if per_gpu:
        with_gpu = [(node.get("CPU", 0.0), math.ceil(node["GPU"] * per_gpu)) for node in nodes if node.get("GPU")]
        return min(int(cpus / min(concurrent, slots)) for cpus, slots in with_gpu)
    cpus_by_node = [int(node.get("CPU", 0.0)) for node in nodes]
    for cpus in range(max(cpus_by_node, default=0), 0, -1):
        if sum(node_cpus // cpus for node_cpus in cpus_by_node) >= concurrent:
            return cpus
    return 0
