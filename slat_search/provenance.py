"""Where results come from: versions, hardware, and the sizes that tables need."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from . import __version__
from .errors import SlatError
from .plugins import packages
from .records import Environment, ModelFacts, TaskFacts
from .redaction import redact
from .run_folder import RunFolder
from .structure import find_blocks, find_sites
from .tasks import TaskData
from .training.context import Context

_PACKAGES = ("torch", "transformers", "peft", "ray", "optuna", "datasets", "pandas", "numpy", "moocore")


def versions() -> dict[str, str]:
    """Return the versions of Python, of this library, of those that results depend on, and of those that add to it."""
    return {
        "python": platform.python_version(),
        "slat-search": __version__,
        **{package: version(package) for package in _PACKAGES},
        **packages(),
    }


def environment(context: Context, tasks: Sequence[TaskData]) -> Environment:
    """Return the content of ``environment.json``."""
    backbone = context.backbone().model
    prefix, blocks = find_blocks(backbone)
    made_from = context.tasks[0].made_from
    return Environment(
        date=datetime.date.today().isoformat(),
        versions=versions(),
        hardware={
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        tasks=tuple(
            TaskFacts(
                name=task.name,
                labels=encoded.labels,
                majority=encoded.majority,
                **{split: len(rows) for split, rows in task.splits.items()},
                notes=tuple(map(redact, task.notes)),
                digests=encoded.made_from.texts,
            )
            for encoded, task in zip(context.tasks, tasks, strict=True)
        ),
        model=ModelFacts(
            name=context.config.model.name,
            params=context.backbone_params,
            head_params=context.head_params,
            layers=len(blocks),
            site_columns=tuple(s.name.removeprefix(f"{prefix}.0.") for s in find_sites(backbone) if s.layer == 0),
            digests={"weights": made_from.weights, "tokenizer": made_from.tokenizer},
            revision=context.frozen.revision,
        ),
    )


def kept_revision(folder: RunFolder) -> str | None:
    """Return the hub commit of the model that a run was started with."""
    path = folder / "environment.json"
    return (Environment.read(path).model.revision or None) if path.is_file() else None


def changes(then: Environment, now: Environment) -> list[str]:
    """Return what differs of texts and model between two environments; what one of them has no digest of counts as the
    same."""
    lines = []
    for before, after in zip(then.tasks, now.tasks, strict=False):
        for split in _changed(before.digests, after.digests):
            old, new = getattr(before, split), getattr(after, split)
            count = "as many as then" if old == new else f"{old:,} then, {new:,} now"
            lines.append(f"the {split} texts of {after.name} ({count})")
    of_model = _changed(then.model.digests, now.model.digests)
    return lines + [f"the {what} of the model {now.model.name}" for what in of_model]


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return common keys whose digests differ."""
    return [what for what, digest in old.items() if new.get(what, digest) != digest]


def check_unchanged(folder: RunFolder, now: Environment) -> None:
    """Check that a run folder was made from what is there now; runs that kept no digests pass.

    Raises:
        SlatError: other texts, or another model under its name.
    """
    path = folder / "environment.json"
    if path.is_file() and (changed := changes(Environment.read(path), now)):
        raise SlatError(
            f"--out: {folder.root} was made from other data: {', '.join(changed)} changed since; put back what it was "
            "made from, or use --overwrite or another --out"
        )


def check_earlier_texts(runs: Sequence[Path], now: Environment) -> None:
    """Check that earlier runs that a search learns from were made from the same texts and model.

    Raises:
        SlatError: one was not.
    """
    for run in runs:
        path = run / "environment.json"
        if path.is_file() and (changed := changes(Environment.read(path), now)):
            raise SlatError(
                f"search.warm_start: {run} was made from other data, and values of its trials cannot be compared with "
                f"these: {', '.join(changed)} changed since"
            )
