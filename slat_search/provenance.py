"""Where results come from: versions, hardware, and the sizes that tables need."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

from . import __version__
from .structure import find_blocks, find_sites
from .tasks import TaskData
from .training.pool import AnyContext

_PACKAGES = ("torch", "transformers", "peft", "ray", "optuna", "datasets", "pandas", "numpy", "moocore")


def versions() -> dict[str, str]:
    """Of Python, of this library, and of those that results depend on."""
    return {
        "python": platform.python_version(),
        "slat-search": __version__,
        **{package: version(package) for package in _PACKAGES},
    }


def environment(context: AnyContext, tasks: Sequence[TaskData]) -> dict[str, Any]:
    """The content of ``environment.json``; what is said of the task stands under ``tasks`` where there are several."""
    backbone = context.backbone().model
    prefix, blocks = find_blocks(backbone)
    columns = [s.name.removeprefix(f"{prefix}.0.") for s in find_sites(backbone) if s.layer == 0]
    told = [
        {
            "name": task.name,
            "labels": list(part.labels),
            "majority": part.majority,
            **{split: len(rows) for split, rows in task.splits.items()},
            **({"notes": list(task.notes)} if task.notes else {}),
        }
        for part, task in zip(context.parts, tasks, strict=True)
    ]
    return {
        "versions": versions(),
        "hardware": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        **({"task": told[0]} if len(told) == 1 else {"tasks": told}),
        "model": {
            "name": context.config.model.name,
            "params": context.backbone_params,
            "head_params": context.head_params,
            "layers": len(blocks),
            "site_columns": columns,
        },
    }
