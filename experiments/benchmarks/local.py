"""Tasks in a folder of one's own (a folder a task, with train, validation and test parquet files), and where a
benchmark keeps what it trained."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from slat_search.config import Config

METRICS = {"cola": "matthews", "mrpc": "f1"}


def task_in(folder: Path, name: str, max_length: int = 64) -> dict[str, Any]:
    """The ``task`` section of a configuration; columns are ``text``, or ``text_a`` and ``text_b``, and ``label``."""
    columns = pq.read_schema(folder / name / "train.parquet").names
    text = ["text"] if "text" in columns else ["text_a", "text_b"]
    metric = METRICS.get(name, "accuracy")
    return {"name": name, "train": str(folder / name), "text": text, "metric": metric, "max_length": max_length}


def kept_in(folder: Path, config: Config) -> Path:
    """The folder for trainings of one configuration, so that none is taken for another's; resources change none."""
    told = config.model_dump_json(exclude={"resources"})
    return folder / hashlib.sha256(told.encode()).hexdigest()[:8]
