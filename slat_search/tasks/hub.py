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

_HIDDEN_LABELS = (-1, "-1")  # labels of rows whose true label is not published


def tables_of_hub(task: cfg.Task) -> dict[str, Table]:
    """Return the splits of a dataset on the hub. Where the test labels are hidden, validation takes the place of test.

    Raises:
        SlatError: no connection, no such dataset, configuration, split or column.
    """
    import datasets

    assert task.hub is not None
    dataset_name = task.hub + (f"/{task.subset}" if task.subset else "")
    if _is_local(task.hub) and glob.has_magic(task.hub):
        raise SlatError(
            f"task.hub: `datasets` takes [ ? and * in {dataset_name} as a pattern; rename it, or set task.train"
        )
    datasets.disable_progress_bars()
    if _is_local(task.hub):
        check_regular(Path(task.hub))
    try:
        _ask_hub(task.hub, Path(datasets.config.HF_DATASETS_CACHE))
        dataset_dict = datasets.load_dataset(task.hub, task.subset, trust_remote_code=False, **_text_options(task))
    except Exception as error:  # HTTP errors, missing datasets and broken files, of many kinds and libraries
        hint = f"; without a connection there are {', '.join(EMBEDDED)} and your own files"
        raise SlatError(
            f"task.hub: cannot load {dataset_name}: {first_line(error)}{'' if _is_local(task.hub) else hint}"
        ) from error
    split_names = {
        "train": "train",
        **dict(named_splits(list(map(str, dataset_dict)), f"task.hub: {dataset_name}")),
    }
    if task.hub_splits:
        split_names = {"train": "train", **{str(split): hub_split for split, hub_split in task.hub_splits.items()}}
    for split, hub_split in split_names.items():
        if hub_split not in dataset_dict:
            raise SlatError(
                f"task.hub_splits.{split}: {dataset_name} has no split {hub_split!r}; it has {', '.join(dataset_dict)}"
            )
    tables = {
        split: table(rows_of(dataset_dict[hub_split], f"{dataset_name} {hub_split}"), "task.hub", task)
        for split, hub_split in split_names.items()
        if not _has_hidden_labels(dataset_dict[hub_split], task)
    }
    if "test" not in tables and "validation" in tables:
        tables["test"] = tables.pop("validation")
    return tables


def _is_local(name: str) -> bool:
    return Path(name).is_dir()


def _ask_hub(name: str, cache: Path) -> None:
    """Ask the hub for the dataset with one short request, unless it is local or cached: without a connection the loader
    would fail only after half a minute."""
    if not _is_local(name) and not (cache / name.replace("/", "___")).is_dir():
        HfApi().dataset_info(name, timeout=10)


def _text_options(task: cfg.Task) -> dict[str, Any]:
    """Return options that keep text and labels of a dataset of CSV files as text: "NA" and "007" are no numbers.

    A dataset that states the types of its columns keeps them, and needs no options.
    """
    import datasets

    assert task.hub is not None
    with tempfile.TemporaryDirectory() as folder:  # a cached dataset would pass inferred types off as stated ones
        cache = folder if _is_local(task.hub) else None
        builder = datasets.load_dataset_builder(task.hub, task.subset, cache_dir=cache)
    if builder.name != "csv" or builder.info.features is not None:
        return {}
    return {"keep_default_na": False, "converters": dict.fromkeys((*task.text, task.label), str)}


def _has_hidden_labels(dataset: Dataset, task: cfg.Task) -> bool:
    labels = dataset[task.label] if task.label in dataset.column_names else ()
    return len(labels) > 0 and all(label in _HIDDEN_LABELS for label in labels)
