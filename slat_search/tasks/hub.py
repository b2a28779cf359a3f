"""Rows from the Hugging Face hub, or from a folder that is laid out as a dataset there."""

from __future__ import annotations

import glob
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi

from .. import config as cfg
from ..config.task import EMBEDDED
from ..errors import SlatError
from ..files import check_regular
from .files import (
    Table,
    named_splits,
    rows_of,
    table,
)
from .objects import first_line

if TYPE_CHECKING:
    from datasets import Dataset

_HIDDEN = (-1, "-1")  # label of rows whose true label is not published


def tables_of_hub(task: cfg.Task) -> dict[str, Table]:
    """The splits of a dataset on the hub. Where the test labels are hidden, validation takes the place of test.

    Raises:
        SlatError: no connection, no such dataset, configuration, split or column.
    """
    import datasets

    assert task.hub is not None
    where = task.hub + (f"/{task.subset}" if task.subset else "")
    if _is_local(task.hub) and glob.has_magic(task.hub):
        raise SlatError(f"task.hub: `datasets` takes [ ? and * in {where} as a pattern; rename it, or set task.train")
    datasets.disable_progress_bars()
    if _is_local(task.hub):
        check_regular(Path(task.hub))
    try:
        _ask_hub(task.hub, Path(datasets.config.HF_DATASETS_CACHE))
        loaded = datasets.load_dataset(task.hub, task.subset, trust_remote_code=False, **_as_text(task))
    except Exception as error:  # HTTP errors, missing datasets and broken files, of many kinds and libraries
        offline = f"; without a connection there are {', '.join(EMBEDDED)} and your own files"
        raise SlatError(
            f"task.hub: cannot load {where}: {first_line(error)}{'' if _is_local(task.hub) else offline}"
        ) from error
    wanted = {"train": "train", **dict(named_splits(list(map(str, loaded)), f"task.hub: {where}"))}
    if task.hub_splits:
        wanted = {"train": "train", **{str(split): there for split, there in task.hub_splits.items()}}
    for split, there in wanted.items():
        if there not in loaded:
            raise SlatError(f"task.hub_splits.{split}: {where} has no split {there!r}; it has {', '.join(loaded)}")
    tables = {
        split: table(rows_of(loaded[there], f"{where} {there}"), "task.hub", task)
        for split, there in wanted.items()
        if not _hidden(loaded[there], task)
    }
    if "test" not in tables and "validation" in tables:
        tables["test"] = tables.pop("validation")
    return tables


def _is_local(name: str) -> bool:
    return Path(name).is_dir()


def _ask_hub(name: str, cache: Path) -> None:
    """Ask for the dataset with one short request, unless it is here; the loader would try for half a minute first."""
    if not _is_local(name) and not (cache / name.replace("/", "___")).is_dir():
        HfApi().dataset_info(name, timeout=10)


def _as_text(task: cfg.Task) -> dict[str, Any]:
    """Options that keep text and labels of a dataset of CSV files as they are: "NA" and "007" are no numbers.

    A dataset that states the types of its columns keeps them.
    """
    import datasets

    assert task.hub is not None
    with tempfile.TemporaryDirectory() as fresh:  # a cache would tell guessed types as stated ones
        cache = fresh if _is_local(task.hub) else None
        builder = datasets.load_dataset_builder(task.hub, task.subset, cache_dir=cache)
    if builder.name != "csv" or builder.info.features is not None:
        return {}
    return {"keep_default_na": False, "converters": dict.fromkeys((*task.text, task.label), str)}


def _hidden(dataset: Dataset, task: cfg.Task) -> bool:
    labels = dataset[task.label] if task.label in dataset.column_names else ()
    return len(labels) > 0 and all(label in _HIDDEN for label in labels)
