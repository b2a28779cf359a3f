"""What an adapter says of every row of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SlatError
from ..tasks.files import read_rows, texts_in
from .bundle import Predictor

if TYPE_CHECKING:
    from datasets import Dataset

_DECIMALS = 6


def label_file(predictor: Predictor, path: Path, columns: Sequence[str] = ()) -> Dataset:
    """All columns of a file and, beside them, ``predicted`` and the probability of each label as ``p(<label>)``.

    In a regression ``predicted`` is a number, and nothing else is added.

    Args:
        path: CSV, TSV, JSON, JSON lines or Parquet.
        columns: where the texts are; by default where they were in the task that the adapter was trained on.

    Raises:
        SlatError: a file that cannot be read, has an empty text or one of the new columns already, or not as many text
            columns as the adapter wants.
    """
    columns = columns or predictor.columns
    if len(columns) != len(predictor.columns):
        raise SlatError(f"--column: given {len(columns)} times; the adapter wants {len(predictor.columns)}")
    rows = read_rows(path, columns, "--file")
    texts = texts_in(rows, columns, f"--file: {path}")
    names = ["predicted", *(f"p({label})" for label in predictor.labels)]
    for name in names:
        if name in rows.column_names:
            raise SlatError(f"--file: {path} has a column {name!r} already")
    said = predictor(texts)
    best = [predictor.labels[k] for k in said.argmax(axis=1)] if predictor.labels else None
    shares = said.astype(np.float64).round(_DECIMALS).T
    for name, values in zip(names, shares if best is None else [best, *shares], strict=True):
        rows = rows.add_column(name, values)
    return rows
