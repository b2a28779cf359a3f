"""Where results come from: versions, hardware, and the sizes that tables need."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from . import __version__
from .errors import SlatError
from .run_folder import RunFolder, read_json
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
    made_from = context.parts[0].made_from
    columns = [s.name.removeprefix(f"{prefix}.0.") for s in find_sites(backbone) if s.layer == 0]
    told = [
        {
            "name": task.name,
            "labels": list(part.labels),
            "majority": part.majority,
            **{split: len(rows) for split, rows in task.splits.items()},
            **({"notes": list(task.notes)} if task.notes else {}),
            "digests": part.made_from.texts,
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
            "digests": {"weights": made_from.weights, "tokenizer": made_from.tokenizer},
        },
    }


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs of texts and model between two ``environment.json``; what one of them has no digest of counts as
    the same."""
    found = []
    for before, after in zip(_tasks(then), _tasks(now), strict=False):
        for split in _changed(before, after):
            same = before[split] == after[split]
            count = "as many as then" if same else f"{before[split]:,} then, {after[split]:,} now"
            found.append(f"the {split} texts of {after['name']} ({count})")
    return found + [f"the {what} of the model {now['model']['name']}" for what in _changed(then["model"], now["model"])]


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Of what both have a digest, what has another."""
    old, new = then.get("digests", {}), now.get("digests", {})
    return [what for what, digest in old.items() if new.get(what, digest) != digest]


def check_unchanged(folder: RunFolder, now: Mapping[str, Any]) -> None:
    """Whether a run folder was made from what is there now; runs that kept no digests pass.

    Raises:
        SlatError: other texts, or another model under its name.
    """
    path = folder / "environment.json"
    if path.is_file() and (changed := changes(read_json(path), now)):
        raise SlatError(
            f"--out: {folder.root} was made from other data: {', '.join(changed)} changed since; put back what it was "
            "made from, or use --overwrite or another --out"
        )


def check_earlier_texts(runs: Sequence[Path], now: Mapping[str, Any]) -> None:
    """Whether earlier runs that a search learns from were made from the same texts and model.

    Raises:
        SlatError: one was not.
    """
    for run in runs:
        path = run / "environment.json"
        if path.is_file() and (changed := changes(read_json(path), now)):
            raise SlatError(
                f"search.earlier: {run} was made from other data, and values of its trials cannot be compared with "
                f"these: {', '.join(changed)} changed since"
            )


def _tasks(environment: Mapping[str, Any]) -> list[dict[str, Any]]:
    return environment["tasks"] if "tasks" in environment else [environment["task"]]
