"""The tasks of a benchmark, in a folder of one's own or by name, and where it keeps what it trained."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from slat_search.config import Config
from slat_search.config.task import EMBEDDED

METRICS = {"cola": "matthews", "mrpc": "f1"}


def task_in(folder: Path | None, name: str, max_length: int = 64) -> dict[str, Any]:
    """The ``task`` section of a configuration.

    Args:
        folder: has a folder a task, with train, validation and test parquet files whose columns are ``text``, or
            ``text_a`` and ``text_b``, and ``label``. Without it the task is one that is known by ``name``; the embedded
            ones, whose articles are long, are read up to 32 tokens, and split as in ``experiments/quickstart.yaml``.

    Raises:
        SystemExit: there is no such task in the folder.
    """
    if folder is None:
        embedded = {"max_length": 32, "split": (0.5, 0.2, 0.3)}
        return {"name": name, "max_length": max_length, **(embedded if name in EMBEDDED else {})}
    train = folder / name / "train.parquet"
    if not train.is_file():
        raise SystemExit(f"--data: no such file: {train}")
    columns = pq.read_schema(train).names
    text = ["text"] if "text" in columns else ["text_a", "text_b"]
    metric = METRICS.get(name, "accuracy")
    return {"name": name, "train": str(folder / name), "text": text, "metric": metric, "max_length": max_length}


def part_of_test(folder: Path, rows: int, out: Path) -> dict[str, str]:
    """Write rows that are drawn from a task's test set; return the fields of ``task`` for all three sets.

    The draw does not depend on the seed of a training. A set of no more rows is taken whole.
    """
    test = pd.read_parquet(folder / "test.parquet")
    out.mkdir(parents=True, exist_ok=True)
    part = out.resolve() / f"test-{rows}.parquet"
    test.sample(min(rows, len(test)), random_state=0).to_parquet(part, index=False)
    return {**{name: str(folder / f"{name}.parquet") for name in ("train", "validation")}, "test": str(part)}


def kept_in(folder: Path, config: Config) -> Path:
    """The folder for trainings of one configuration, so that none is taken for another's; neither resources nor
    studies change one."""
    told = config.model_dump_json(exclude={"resources", "sensitivity"})
    return folder / hashlib.sha256(told.encode()).hexdigest()[:8]
