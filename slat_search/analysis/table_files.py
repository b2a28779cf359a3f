"""Read CSV tables of a run: undamaged, with the right columns, and numbers where they belong."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from ..errors import SlatError
from ..files import read_listed, with_formula
from ..records import Record


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """Read a table that a run wrote.

    Raises:
        SlatError: missing, empty or damaged.
    """
    raw = read_listed(path)
    try:
        table = pd.read_csv(io.BytesIO(raw), **options)
        for name in table:
            if not pd.api.types.is_numeric_dtype(table[name]):
                table[name] = table[name].map(lambda cell: with_formula(cell) if isinstance(cell, str) else cell)
        return table.rename(columns=with_formula)
    except (ValueError, OverflowError) as error:  # pandas' own errors are of these
        raise SlatError(f"{path}: damaged or empty ({' '.join(str(error).split())})") from error


def read_table(path: Path, kind: type[Record], later: Collection[str] = ()) -> pd.DataFrame:
    """Read a table of records that may not be there.

    Args:
        later: columns that earlier versions did not write.

    Raises:
        SlatError: damaged.
    """
    if not path.is_file() or path.stat().st_size <= 1:
        return pd.DataFrame(columns=list(kind.model_fields))
    table = read_csv(path)
    if missing := sorted(set(kind.model_fields) - set(table) - set(later)):
        raise SlatError(f"{path}: damaged, or of another version (it has no column {missing[0]})")
    return typed(table, kind, path)


def typed(table: pd.DataFrame, kind: type[Record], path: Path, needed: Collection[str] = ()) -> pd.DataFrame:
    """Return a table whose columns have numbers where the fields of a record are numbers.

    Args:
        needed: columns without an empty cell.

    Raises:
        SlatError: a cell is no number, or is empty.
    """
    kinds = {name: {field.annotation, *get_args(field.annotation)} for name, field in kind.model_fields.items()}
    numbers = [name for name, annotated in kinds.items() if annotated & {int, float}]
    table = with_numbers(table, numbers, path)
    for name in needed:
        if (empty := table[name].isna()).any():
            raise SlatError(f"{path}: damaged (row {int(empty.argmax()) + 1} has no {name})")
    return table


def with_numbers(table: pd.DataFrame, columns: Collection[str], path: Path) -> pd.DataFrame:
    """Return a table with numbers in some columns, as far as it has them.

    Raises:
        SlatError: a cell is no number.
    """
    found = {}
    for name in columns:
        if name in table:
            try:
                found[name] = pd.to_numeric(table[name])
            except (ValueError, TypeError) as error:
                raise SlatError(f"{path}: damaged (column {name}: {' '.join(str(error).split())})") from error
    return table.assign(**found)
