"""Where results come from: versions, hardware, and the sizes that tables need."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

from .structure import find_blocks, find_sites
from .training.context import Context

_PACKAGES = ("slat-search", "torch", "transformers", "peft", "ray", "optuna", "datasets", "pandas", "numpy", "moocore")


def environment(context: Context, sizes: dict[str, int]) -> dict[str, Any]:
    """The content of ``environment.json``; ``sizes`` is split -> number of texts."""
    backbone = context.backbone().model
    prefix, blocks = find_blocks(backbone)
    columns = [s.name.removeprefix(f"{prefix}.0.") for s in find_sites(backbone) if s.layer == 0]
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "hardware": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "task": {
            "name": context.config.task.name,
            "labels": list(context.labels),
            "majority": context.majority,
            **sizes,
        },
        "model": {
            "name": context.config.model.name,
            "params": context.backbone_params,
            "head_params": context.head_params,
            "layers": len(blocks),
            "site_columns": columns,
        },
    }
