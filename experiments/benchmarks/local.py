"""Tasks in a folder of one's own: a folder a task, with train, validation and test parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

METRICS = {"cola": "matthews", "mrpc": "f1"}


def task_in(folder: Path, name: str, max_length: int = 64) -> dict[str, Any]:
    """The ``task`` section of a configuration; columns are ``text``, or ``text_a`` and ``text_b``, and ``label``."""
    columns = pq.read_schema(folder / name / "train.parquet").names
    text = ["text"] if "text" in columns else ["text_a", "text_b"]
    metric = METRICS.get(name, "accuracy")
    return {"name": name, "train": str(folder / name), "text": text, "metric": metric, "max_length": max_length}
