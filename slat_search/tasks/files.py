"""The splits of a task from files of one's own: a file, a folder of files, or a folder that ``datasets`` saved."""

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

_LONG_NAME = 30  # of a column; more is a text
#: names of the splits, of people and of their libraries
ALIASES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class Table:
    """Rows of one split as they stand in their source.

    Attributes:
        field: of the configuration, for messages.
        where: file or dataset, for messages.
        rows: texts and the label: its text, or in a regression a number.
        names: label names, where the source knows them.
        notes: what a reader of the source should know, a sentence each.
        roles: of the texts of each row, where rows are chats.
    """

    field: str
    where: str
    rows: list[tuple[tuple[str, ...], Label]]
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    roles: list[tuple[str, ...]] | None = None


def tables_of_files(task: cfg.Task) -> dict[str, Table]:
    """The splits that a task's files hold.

    Raises:
        SlatError: a missing or malformed file, a missing column, an empty text or label.
    """
    assert task.train is not None
    named = {name: path for name in ("validation", "test") if (path := getattr(task, name)) is not None}
    notes: tuple[str, ...] = ()
    if task.train.is_dir() and any((task.train / name).is_file() for name in ("dataset_dict.json", "state.json")):
        tables = _saved(task, named)
    else:
        paths = {"train": task.train}
        if task.train.is_dir():
            paths, notes = in_folder(task.train, named)
        tables = {name: _read(name, path, task) for name, path in paths.items()}
    tables |= {name: _read(name, path, task) for name, path in named.items()}
    train = tables["train"]
    tables["train"] = replace(train, notes=(*train.notes, *notes))
    return tables


def table(rows: Rows, field: str, task: cfg.Task) -> Table:
    """Texts and labels out of rows.

    Raises:
        SlatError: a missing column, an empty text or label.
    """
    what = f"{field}: {rows.where}"
    if task.is_generated:
        return _answered(rows, field, task, what)
    _has(rows, (*task.text, task.label), what)
    names = rows.names.get(task.label)
    labels = [
        label_of(label, f"{what} row {number}", task, names) for number, label in enumerate(rows.values(task.label), 1)
    ]
    return Table(field, rows.where, list(zip(texts_in(rows, task.text, what), labels, strict=True)), names, rows.notes)


def _answered(rows: Rows, field: str, task: cfg.Task, what: str) -> Table:
    """Prompts and responses out of rows.

    Raises:
        SlatError: a missing column, an empty text, no response, or what is no chat.
    """
    roles = None
    if task.chat is not None:
        _has(rows, (task.chat,), what)
        chats = chats_in(rows.values(task.chat), what)
        roles, texts = [chat.roles for chat in chats], [chat.texts for chat in chats]
        responses = [chat.response for chat in chats]
    else:
        assert isinstance(task.response, str)
        if task.prompt in ALPACA and "input" not in rows.columns:  # as in files where no instruction has one
            rows = rows.with_columns({"input": [""] * len(rows)})
        _has(rows, (*task.text, task.response), what)
        texts = texts_in(rows, task.text, what, some=True)
        first = next((number for number, row in enumerate(texts, 1) if not row[0].strip()), None)
        if task.prompt in ALPACA and first is not None:
            raise SlatError(f"{what} row {first} has no instruction")
        responses = [
            "" if _is_nothing(value) else _response(value, f"{what} row {number}")
            for number, value in enumerate(rows.values(task.response), 1)
        ]
    if empty := [number for number, response in enumerate(responses, 1) if not response.strip()]:
        raise SlatError(f"{what} has {len(empty):,} empty responses, the first in row {empty[0]}")
    pairs: list[tuple[tuple[str, ...], Label]] = [*zip(texts, responses, strict=True)]
    return Table(field, rows.where, pairs, None, rows.notes, roles)


def rows_of(dataset: Dataset, where: str) -> Rows:
    """The columns of a loaded dataset."""
    names = {name: tuple(f.names) for name, f in dataset.features.items() if getattr(f, "names", None)}
    return Rows(where, {name: dataset[name] for name in dataset.column_names}, names)


def texts_in(rows: Rows, columns: Sequence[str], what: str, some: bool = False) -> list[tuple[str, ...]]:
    """The texts of each row, a text a column.

    Numbers are texts as they are printed, bytes are UTF-8, and a list of tokens is joined by spaces.

    Args:
        what: begins the messages.
        some: whether one text of several is enough; the others are empty then.

    Raises:
        SlatError: a missing column, an empty text, or what is no text.
    """
    _has(rows, columns, what)
    texts = []
    for number, row in enumerate(zip(*(rows.values(column) for column in columns), strict=True), 1):
        there = [not some or not _is_nothing(value) for value in row]
        if not any(there):
            raise SlatError(f"{what} row {number} has no text")
        texts.append(tuple(_text(v, f"{what} row {number}") if t else "" for v, t in zip(row, there, strict=True)))
    return texts


def _is_nothing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str | list) and not (value and str(value).strip()))


def _response(value: Any, what: str) -> str:
    if isinstance(value, list | dict):
        kind = "list" if isinstance(value, list) else "dictionary"
        raise SlatError(f"{what} has a {kind} as response, {str(value)[:40]}; a response is one text")
    return value if isinstance(value, str) else _text(value, what)


def _text(value: Any, what: str) -> str:
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise SlatError(f"{what} has a text of bytes that are not UTF-8") from error
    elif isinstance(value, int | float) and value == value:  # nan is nothing
        value = str(value)
    elif isinstance(value, list) and value and all(isinstance(token, str) for token in value):
        value = " ".join(value)
    if _is_nothing(value):
        raise SlatError(f"{what} has an empty text")
    if not isinstance(value, str):
        raise SlatError(f"{what} has a text that is none but a {type(value).__name__}: {str(value)[:40]}")
    return value


def _has(rows: Rows, columns: Sequence[str], what: str) -> None:
    for column in columns:
        if column not in rows.columns:
            raise SlatError(f"{what} has no column {column!r}; it has {columns_of(rows)}{_first_line(rows)}")


def _first_line(rows: Rows) -> str:
    """Return a hint on the first line of a CSV or TSV."""
    names = list(rows.columns)
    if all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        return "; its fields stand in quotes: set quoting to quoted"
    long = any(len(name) > _LONG_NAME for name in names)
    return other_separator(names) or ("; the first line of a .csv or .tsv names the columns" if long else "")


def in_folder(folder: Path, named: Collection[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """The files of the splits that are not ``named``, and what to say of the others.

    Raises:
        SlatError: no file of train, or two of one split.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and path.is_file())
    by_split = {name: [p for p in files if p.stem.lower() in ALIASES[name]] for name in SPLITS}
    if not by_split["train"]:
        endings = f"{', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        raise SlatError(f"task.train: {folder} holds no train file ({endings})")
    wanted = {name: paths for name, paths in by_split.items() if name not in named and paths}
    for paths in wanted.values():
        if len(paths) > 1:
            raise SlatError(f"task.train: {folder} holds both {paths[0].name} and {paths[1].name}; name one of them")
    used = [paths[0] for paths in wanted.values()]
    left = [path.name for path in files if path not in used and path.name not in _SIDE_FILES]
    notes = (f"{folder}: {', '.join(left)} not read",) if left else ()
    return {name: paths[0] for name, paths in wanted.items()}, notes


#: metadata beside the data
_SIDE_FILES = ("info.json", "dataset_info.json", "dataset_infos.json", "metadata.json", "config.json")


def _saved(task: cfg.Task, named: Collection[str]) -> dict[str, Table]:
    import datasets

    check_regular(Path(str(task.train)))
    try:
        saved = datasets.load_from_disk(str(task.train))
    except Exception as error:  # the library raises many kinds; all mean that the folder is damaged
        raise SlatError(f"task.train: cannot read {task.train}: {first_line(error)}") from error
    if isinstance(saved, datasets.Dataset):
        saved = datasets.DatasetDict({"train": saved})
    splits = dict(named_splits(list(map(str, saved)), f"task.train: {task.train}"))
    if "train" not in splits:
        raise SlatError(f"task.train: {task.train} holds no train split; it has {', '.join(map(str, saved))}")
    return {
        name: table(rows_of(saved[there], f"{task.train}/{there}"), f"task.{name}", task)
        for name, there in splits.items()
        if name not in named
    }


def named_splits(there: Collection[str], what: str) -> Iterator[tuple[str, str]]:
    """Our splits and what a dataset calls them, as far as it has them.

    Raises:
        SlatError: two names of the same split; the message begins with ``what``.
    """
    for name in SPLITS:
        matches = [name] if name in there else [split for split in there if split.lower() in ALIASES[name]]
        if len(matches) > 1:
            raise SlatError(f"{what} holds both {matches[0]} and {matches[1]}; which is {name}?")
        yield from ((name, split) for split in matches)


def _read(split: str, path: Path, task: cfg.Task) -> Table:
    field = f"task.{split}"
    return table(read_rows(path, field, task.quoting, task.label), field, task)
