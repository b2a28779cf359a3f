"""Rows from and to files: CSV, TSV, JSONL, Parquet, or a folder that ``datasets`` saved. All by ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import config as cfg
from ..errors import SlatError
from .examples import SPLITS

if TYPE_CHECKING:
    from datasets import Dataset

_READERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
_ENDINGS = ".csv, .tsv, .jsonl, .json or .parquet"


@dataclass(frozen=True)
class Table:
    """Rows of one split as they stand in their source.

    Attributes:
        field: of the configuration, for messages.
        where: file or dataset, for messages.
        rows: texts and the label as it was given.
        names: label names, where the source knows them.
    """

    field: str
    where: str
    rows: list[tuple[tuple[str, ...], Any]]
    names: tuple[str, ...] | None = None


def tables_of_files(task: cfg.Task) -> dict[str, Table]:
    """The splits that a task's files hold.

    Raises:
        SlatError: a missing or malformed file, a missing column, an empty text or label.
    """
    assert task.train is not None
    if task.train.is_dir() and any((task.train / name).is_file() for name in ("dataset_dict.json", "state.json")):
        tables = _saved(task)
    else:
        paths = _in_folder(task.train) if task.train.is_dir() else {"train": task.train}
        tables = {name: _read(name, path, task) for name, path in paths.items()}
    for name in ("validation", "test"):
        if (path := getattr(task, name)) is not None:
            tables[name] = _read(name, path, task)
    return tables


def table(dataset: Dataset, field: str, where: str, task: cfg.Task) -> Table:
    """Texts and labels out of a loaded dataset.

    Raises:
        SlatError: a missing column, an empty text or label.
    """
    _has(dataset, (*task.text, task.label), f"{field}: {where}")
    labels = list(dataset[task.label])
    for number, label in enumerate(labels, 1):
        if label is None or label == "":
            raise SlatError(f"{field}: {where} row {number} has no label")
    names = getattr(dataset.features[task.label], "names", None)
    rows = list(zip(texts_in(dataset, task.text, f"{field}: {where}"), labels, strict=True))
    return Table(field, where, rows, tuple(names) if names else None)


def texts_in(dataset: Dataset, columns: Sequence[str], what: str) -> list[tuple[str, ...]]:
    """The texts of each row, a text a column.

    Args:
        what: begins the messages.

    Raises:
        SlatError: a missing column, or an empty text.
    """
    _has(dataset, columns, what)
    rows = list(zip(*(dataset[column] for column in columns), strict=True))
    for number, texts in enumerate(rows, 1):
        if any(not isinstance(text, str) or not text.strip() for text in texts):
            raise SlatError(f"{what} row {number} has an empty text")
    return rows


def _has(dataset: Dataset, columns: Sequence[str], what: str) -> None:
    for column in columns:
        if column not in dataset.column_names:
            raise SlatError(f"{what} has no column {column!r}; it has {', '.join(dataset.column_names)}")


def _in_folder(folder: Path) -> dict[str, Path]:
    found = {name: [p for p in sorted(folder.glob(f"{name}.*")) if p.suffix in _READERS] for name in SPLITS}
    if not found["train"]:
        raise SlatError(f"task.train: {folder} holds no train file ({_ENDINGS})")
    for paths in found.values():
        if len(paths) > 1:
            raise SlatError(f"task.train: {folder} holds both {paths[0].name} and {paths[1].name}; name one of them")
    return {name: paths[0] for name, paths in found.items() if paths}


def _saved(task: cfg.Task) -> dict[str, Table]:
    import datasets

    try:
        saved = datasets.load_from_disk(str(task.train))
    except Exception as error:  # the library raises many kinds; all mean that the folder is damaged
        raise SlatError(f"task.train: cannot read {task.train}: {first_line(error)}") from error
    if isinstance(saved, datasets.Dataset):
        saved = datasets.DatasetDict({"train": saved})
    if "train" not in saved:
        raise SlatError(f"task.train: {task.train} holds no train split; it has {', '.join(map(str, saved))}")
    return {name: table(saved[name], f"task.{name}", f"{task.train}/{name}", task) for name in SPLITS if name in saved}


def _read(split: str, path: Path, task: cfg.Task) -> Table:
    field = f"task.{split}"
    return table(read_rows(path, task.text, field), field, str(path), task)


def read_rows(path: Path, texts: Sequence[str], field: str) -> Dataset:
    """All columns of a file; those of ``texts`` are read as strings.

    Raises:
        SlatError: a missing or malformed file, or one of an unknown ending; the message begins with ``field``.
    """
    import datasets

    if not path.is_file():
        raise SlatError(f"{field}: no such file: {path}")
    check_ending(path, field)
    options: dict[str, Any] = {}
    if _READERS[path.suffix] == "csv":  # a text may be "NA" or "007"
        options = {"keep_default_na": False, "converters": dict.fromkeys(texts, str)}
        options |= {"sep": "\t"} if path.suffix == ".tsv" else {}
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(_READERS[path.suffix], data_files=str(path), split="train", **options)
    except Exception as error:  # the readers raise many kinds; all mean that the file is malformed
        raise SlatError(f"{field}: cannot read {path}: {_fault(path) or first_line(error)}") from error


def check_ending(path: Path, field: str) -> None:
    """That a file of this name can be read and written.

    Raises:
        SlatError: it cannot; the message begins with ``field``.
    """
    if path.suffix not in _READERS:
        raise SlatError(f"{field}: {path} must end in {_ENDINGS}")


def write_rows(rows: Dataset, path: Path) -> None:
    """Write a file as its ending says, see :func:`check_ending`."""
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    elif path.suffix in (".json", ".jsonl"):
        rows.to_json(path, lines=path.suffix == ".jsonl", force_ascii=False)
    else:
        rows.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def first_line(error: BaseException) -> str:
    """What an error of a library says, without what follows it; its cause says more, where it has one."""
    return (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]


def _fault(path: Path) -> str:
    """What is wrong with a file and in which line, where that can be told; else nothing."""
    if path.suffix == ".parquet":
        return _fault_in_parquet(path)
    raw = path.read_bytes()
    if not raw.strip():
        return "the file is empty"
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        place = raw[: error.start].count(b"\n") + 1
        return f"line {place} is not UTF-8; save the file in that encoding"
    if path.suffix in (".json", ".jsonl"):
        return _fault_in_json(text, path.suffix)
    return "" if len(text.strip().splitlines()) > 1 else "no row follows the header"


def _fault_in_parquet(path: Path) -> str:
    import pyarrow
    import pyarrow.parquet

    try:
        return "" if pyarrow.parquet.read_metadata(path).num_rows else "it has no row"
    except pyarrow.ArrowInvalid as error:
        return first_line(error)


def _fault_in_json(text: str, suffix: str) -> str:
    """The same for JSON: an object a line; a ``.json`` may also be one list of objects."""
    if suffix == ".json" and text.lstrip().startswith("["):
        try:
            return "" if json.loads(text) else "the list is empty"
        except json.JSONDecodeError as error:
            return f"line {error.lineno} is not JSON ({error.msg} at character {error.colno})"
    for number, line in enumerate(text.splitlines(), 1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"line {number} is JSON, but no object"
        except json.JSONDecodeError as error:
            return f"line {number} is not JSON ({error.msg} at character {error.pos + 1})"
    return ""
