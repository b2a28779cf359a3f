"""Read the splits of a task from local data: a file, a folder of files, or a folder that ``datasets`` saved."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import config as cfg
from ..config.prompt import ALPACA
from ..errors import SlatError
from ..files import check_regular
from .chats import chats_in
from .delimited import other_separator
from .examples import SPLITS
from .labels import Label, label_of
from .objects import first_line
from .rows import (
    ENDINGS,
    Rows,
    columns_of,
    read_rows,
)

if TYPE_CHECKING:
    from datasets import Dataset

_MAX_NAME_LENGTH = 30  # characters of a column name; anything longer is a text
#: split -> names that people and libraries give to it
ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Table:
    """Rows of one split as they stand in their source.

    Attributes:
        field: field of the configuration, for messages.
        where: file or dataset, for messages.
        rows: texts and label of each row; the label is its text, or a number in a regression.
        names: label names, where the source knows them.
        notes: sentences for the user on the source.
        roles: roles of the texts of each row, where rows are chats.
    """

    field: str
    where: str
    rows: list[tuple[tuple[str, ...], Label]]
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    roles: list[tuple[str, ...]] | None = None


def tables_of_files(task: cfg.Task) -> dict[str, Table]:
    """Return the splits in the files of a task.

    Raises:
        SlatError: a missing or malformed file, a missing column, an empty text or label.
    """
    assert task.train is not None
    split_paths = {name: path for name in ("validation", "test") if (path := getattr(task, name)) is not None}
    notes: tuple[str, ...] = ()
    if task.train.is_dir() and any((task.train / name).is_file() for name in ("dataset_dict.json", "state.json")):
        tables = _saved_tables(task, split_paths)
    else:
        paths = {"train": task.train}
        if task.train.is_dir():
            paths, notes = in_folder(task.train, split_paths)
        tables = {name: _read_table(name, path, task) for name, path in paths.items()}
    tables |= {name: _read_table(name, path, task) for name, path in split_paths.items()}
    train = tables["train"]
    tables["train"] = replace(train, notes=(*train.notes, *notes))
    return tables


def table(rows: Rows, field: str, task: cfg.Task) -> Table:
    """Return the texts and labels of rows as a table.

    Raises:
        SlatError: a missing column, an empty text or label.
    """
    source = f"{field}: {rows.where}"
    if task.is_generated:
        return _response_table(rows, field, task, source)
    _check_columns(rows, (*task.text, task.label), source)
    names = rows.names.get(task.label)
    labels = [
        label_of(value, f"{source} row {number}", task, names)
        for number, value in enumerate(rows.values(task.label), 1)
    ]
    texts = texts_in(rows, task.text, source)
    return Table(field, rows.where, list(zip(texts, labels, strict=True)), names, rows.notes)


def _response_table(rows: Rows, field: str, task: cfg.Task, source: str) -> Table:
    """Return the prompts and responses of rows as a table.

    Raises:
        SlatError: a missing column, an empty text, no response, or a value that is no chat.
    """
    roles = None
    if task.chat is not None:
        _check_columns(rows, (task.chat,), source)
        chats = chats_in(rows.values(task.chat), source)
        roles, texts = [chat.roles for chat in chats], [chat.texts for chat in chats]
        responses = [chat.response for chat in chats]
    else:
        assert isinstance(task.response, str)
        if task.prompt in ALPACA and "input" not in rows.columns:  # as in files in which no instruction has an input
            rows = rows.with_columns({"input": [""] * len(rows)})
        _check_columns(rows, (*task.text, task.response), source)
        texts = texts_in(rows, task.text, source, allow_missing=True)
        empty_row = next((number for number, row in enumerate(texts, 1) if not row[0].strip()), None)
        if task.prompt in ALPACA and empty_row is not None:
            raise SlatError(f"{source} row {empty_row} has no instruction")
        responses = [
            "" if _is_empty(value) else _response_text(value, f"{source} row {number}")
            for number, value in enumerate(rows.values(task.response), 1)
        ]
    if empty_rows := [number for number, response in enumerate(responses, 1) if not response.strip()]:
        raise SlatError(f"{source} has {len(empty_rows):,} empty responses, the first in row {empty_rows[0]}")
    pairs: list[tuple[tuple[str, ...], Label]] = [*zip(texts, responses, strict=True)]
    return Table(field, rows.where, pairs, None, rows.notes, roles)


def rows_of(dataset: Dataset, source: str) -> Rows:
    """Return the columns of a loaded dataset."""
    names = {name: tuple(f.names) for name, f in dataset.features.items() if getattr(f, "names", None)}
    return Rows(source, {name: dataset[name] for name in dataset.column_names}, names)


def texts_in(rows: Rows, columns: Sequence[str], source: str, allow_missing: bool = False) -> list[tuple[str, ...]]:
    """Return the texts of each row, one per column.

    Numbers become the text that Python prints, bytes are decoded as UTF-8, and a list of tokens is joined by spaces.

    Args:
        source: beginning of error messages.
        allow_missing: whether one text of several is enough; the others are empty then.

    Raises:
        SlatError: a missing column, an empty text, or a value that is no text.
    """
    _check_columns(rows, columns, source)
    texts = []
    for number, row in enumerate(zip(*(rows.values(column) for column in columns), strict=True), 1):
        is_present = [not allow_missing or not _is_empty(value) for value in row]
        if not any(is_present):
            raise SlatError(f"{source} row {number} has no text")
        row_name = f"{source} row {number}"
        texts.append(tuple(_text(v, row_name) if keep else "" for v, keep in zip(row, is_present, strict=True)))
    return texts


def _is_empty(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str | list) and not (value and str(value).strip()))


def _response_text(value: Any, row_name: str) -> str:
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "dictionary"
        raise SlatError(f"{row_name} has a {kind} as response, {str(value)[:40]}; a response is one text")
    return value if isinstance(value, str) else _text(value, row_name)


def _text(value: Any, row_name: str) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SlatError(f"{row_name} has a text of bytes that are not UTF-8") from error
    elif isinstance(value, int | float) and value == value:  # nan is an empty text
        value = str(value)
    elif isinstance(value, list) and value and all(isinstance(token, str) for token in value):
        value = " ".join(value)
    if _is_empty(value):
        raise SlatError(f"{row_name} has an empty text")
    if not isinstance(value, str):
        raise SlatError(f"{row_name} has a text that is none but a {type(value).__name__}: {str(value)[:40]}")
    return value


def _check_columns(rows: Rows, columns: Sequence[str], source: str) -> None:
    for column in columns:
        if column not in rows.columns:
            raise SlatError(f"{source} has no column {column!r}; it has {columns_of(rows)}{_header_hint(rows)}")


def _header_hint(rows: Rows) -> str:
    """Return a hint on the header of a CSV or TSV file, for the message that a column is missing."""
    names = list(rows.columns)
    if all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        return "; its fields stand in quotes: set quoting to quoted"
    has_long_name = any(len(name) > _MAX_NAME_LENGTH for name in names)
    return other_separator(names) or ("; the first line of a .csv or .tsv names the columns" if has_long_name else "")


def in_folder(folder: Path, skip: Collection[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return the files of the splits, and notes on files that are not read.

    Args:
        skip: splits that are read from elsewhere.

    Raises:
        SlatError: no train file, or two files of one split.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.is_file())
    by_split = {name: [p for p in files if p.stem.lower() in ALIASES[name]] for name in SPLITS}
    if not by_split["train"]:
        endings = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        raise SlatError(f"task.train: {folder} holds no train file ({endings})")
    candidates = {name: paths for name, paths in by_split.items() if name not in skip and paths}
    for paths in candidates.values():
        if len(paths) > 1:
            raise SlatError(f"task.train: {folder} holds both {paths[0].name} and {paths[1].name}; name one of them")
    read_paths = [paths[0] for paths in candidates.values()]
    unread = [path.name for path in files if path not in read_paths and path.name not in _SIDE_FILES]
    notes = (f"{folder}: {', '.join(unread)} not read",) if unread else ()
    return {name: paths[0] for name, paths in candidates.items()}, notes


#: metadata files beside the data
_SIDE_FILES = ("info.json", "dataset_info.json", "dataset_infos.json", "metadata.json", "config.json")


def _saved_tables(task: cfg.Task, skip: Collection[str]) -> dict[str, Table]:
    import datasets

    check_regular(Path(str(task.train)))
    try:
        dataset = datasets.load_from_disk(str(task.train))
    except Exception as error:  # the library raises many kinds; all mean that the folder is damaged
        raise SlatError(f"task.train: cannot read {task.train}: {first_line(error)}") from error
    if isinstance(dataset, datasets.Dataset):
        dataset = datasets.DatasetDict({"train": dataset})
    splits = dict(named_splits(list(map(str, dataset)), f"task.train: {task.train}"))
    if "train" not in splits:
        raise SlatError(f"task.train: {task.train} holds no train split; it has {', '.join(map(str, dataset))}")
    return {
        name: table(rows_of(dataset[dataset_split], f"{task.train}/{dataset_split}"), f"task.{name}", task)
        for name, dataset_split in splits.items()
        if name not in skip
    }


def named_splits(dataset_splits: Collection[str], source: str) -> Iterator[tuple[str, str]]:
    """Yield each split that a dataset has, and its name in the dataset.

    Raises:
        SlatError: two names of the same split; the message begins with ``source``.
    """
    for name in SPLITS:
        aliases = [split for split in dataset_splits if split.lower() in ALIASES[name]]
        matches = [name] if name in dataset_splits else aliases
        if len(matches) > 1:
            raise SlatError(f"{source} holds both {matches[0]} and {matches[1]}; which is {name}?")
        yield from ((name, split) for split in matches)


def _read_table(split: str, path: Path, task: cfg.Task) -> Table:
    field = f"task.{split}"
    return table(read_rows(path, field, task.quoting, task.label), field, task)
