"""Label every row of a file with an adapter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import SlatError
from ..tasks.chats import prompts_in
from ..tasks.files import texts_in
from ..tasks.rows import Rows
from .predictor import Predictor, Text

_DECIMALS = 6


def label_rows(predictor: Predictor, rows: Rows, columns: Sequence[str] = ()) -> Rows:
    """Return all columns of a file and, beside them, ``predicted`` and the probability of each label as ``p(<label>)``.

    In a regression ``predicted`` is a number, and for a generating adapter a response; both add no other column.

    Args:
        rows: rows of CSV, TSV, JSON, JSON lines or Parquet.
        columns: columns of the texts; by default those of the task that the adapter was trained on.

    Raises:
        SlatError: an empty text, an output column that exists, or a wrong number of text columns.
    """
    columns = columns or predictor.columns
    if len(columns) != len(predictor.columns):
        raise SlatError(f"--column: given {len(columns)} times; the adapter wants {len(predictor.columns)}")
    source = f"--file: {rows.where}"
    texts: list[Text] = []
    if predictor.reads_chats and columns[0] in rows.columns:
        chats = prompts_in(rows.values(columns[0]), source)
        texts += [[{"role": r, "content": c} for r, c in zip(chat.roles, chat.texts, strict=True)] for chat in chats]
    else:
        texts += texts_in(rows, columns, source, allow_missing=predictor.generates)
    names = ["predicted", *(f"p({label})" for label in predictor.labels)]
    for name in names:
        if name in rows.columns:
            raise SlatError(f"{source} has a column {name!r} already")
    if predictor.generates:
        return rows.with_columns({"predicted": predictor.generate(texts)})
    outputs = predictor(texts)
    predictions = [predictor.labels[k] for k in outputs.argmax(axis=1)] if predictor.labels else None
    values = outputs.astype(np.float64).round(_DECIMALS).T.tolist()
    return rows.with_columns(dict(zip(names, values if predictions is None else [predictions, *values], strict=True)))
