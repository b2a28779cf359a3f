"""Check that this machine has everything a run needs, as the run would use it."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ray
import torch
from huggingface_hub import HfApi

from .errors import SlatError
from .models.backbone import products_in
from .models.registry import EMBEDDED_MODELS, installed, published
from .provenance import versions
from .search.runtime import ray_session, session_folder
from .tasks import bbc

_ROUNDS = 15
_GIB = 2**30
_ROOM = _GIB  # bytes of disk that a run should find
_FULL = 0.95  # share of a disk from which Ray writes no object to it


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        name: of the thing.
        detail: its state, and what to do about it.
        mark: ``ok``, ``note`` (a run may do without), or ``problem``.
    """

    name: str
    detail: str
    mark: str = "ok"


def run_checks(address: str | None = None) -> Iterator[Finding]:
    """Yield the finding of each check.

    Args:
        address: of a Ray cluster; by default a Ray is started as a run would start one.
    """
    yield Finding("versions", ", ".join(f"{name} {number}" for name, number in versions().items()))
    yield _processors()
    yield _gpus()
    yield _precision()
    for name in EMBEDDED_MODELS:
        yield _embedded(f"model {name}", partial(installed, name))
    yield _embedded("embedded text", bbc.folder)
    yield _hub()
    yield _disk()
    yield _ray(address)


def _processors() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # unknown on this system
        return Finding("processors", f"{usable} CPUs")
    return Finding("processors", f"{usable} CPUs, {free / _GIB:.1f} GiB of memory free")


def _gpus() -> Finding:
    if not torch.cuda.is_available():
        return Finding("GPUs", "none that torch can use; runs take the CPUs")
    lines = []
    for number in range(torch.cuda.device_count()):
        free, whole = torch.cuda.mem_get_info(number)
        lines.append(f"{torch.cuda.get_device_name(number)}, {free / _GIB:.0f} of {whole / _GIB:.0f} GiB free")
    return Finding("GPUs", "; ".join(lines))


def _precision() -> Finding:
    """Compare both precisions on a product as large as MiniLM's largest."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, layer = torch.randn(1024, 384, device=device), torch.nn.Linear(384, 1536, device=device)

    def seconds(precision: str) -> float:
        with products_in(precision):
            began = time.perf_counter()
            layer(rows).sum().item()
            return time.perf_counter() - began

    ratio = statistics.median(seconds("bfloat16") / seconds("float32") for _ in range(_ROUNDS))
    advice = "set `model.precision: bfloat16`" if ratio < 0.8 else "leave `model.precision` at float32"
    return Finding("precision", f"a product in bfloat16 takes {ratio:.2f} of its time in float32: {advice}")


def _embedded(name: str, find: Callable[[], object]) -> Finding:
    try:
        find()
    except SlatError as error:
        return Finding(name, f"{error}; models, tasks and files of your own do without", "note")
    return Finding(name, "there")


def _hub() -> Finding:
    name, _ = published(next(iter(EMBEDDED_MODELS)))
    try:
        HfApi().model_info(name, timeout=5)
    except Exception as error:  # the HTTP library's own errors differ between versions; all mean the same here
        text = f"not reached ({type(error).__name__}); names on it work as far as they are in its cache, files always"
        return Finding("Hugging Face hub", text, "note")
    return Finding("Hugging Face hub", "reached")


def _disk() -> Finding:
    lines, full = [], False
    try:
        sessions = session_folder().parent
    except SlatError as error:
        return Finding("disk", str(error), "problem")
    for what, folder in (("this folder", Path.cwd()), ("Ray's", sessions)):
        usage = shutil.disk_usage(folder)
        share = 1 - usage.free / usage.total
        full |= usage.free < _ROOM or share > _FULL
        lines.append(f"{what} {usage.free / _GIB:.1f} GiB free ({share:.0%} full)")
    return Finding("disk", ", ".join(lines) + ("; make room" if full else ""), "problem" if full else "ok")


def _ray(address: str | None) -> Finding:
    joined, began = bool(address or os.environ.get("RAY_ADDRESS")), time.perf_counter()
    try:
        with ray_session(address):
            resources = ray.cluster_resources()
            nodes = sum(node["Alive"] for node in ray.nodes())
            took = time.perf_counter() - began
    except SlatError as error:
        return Finding("Ray", str(error), "problem")
    gpus = f", {resources['GPU']:g} GPUs" if resources.get("GPU") else ""
    return Finding(
        "Ray", f"{'answers' if joined else 'starts'} in {took:.1f} s: {nodes} node(s), {resources['CPU']:g} CPUs{gpus}"
    )
