"""Read Parquet files within bounded memory, and convert columns to Arrow tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from .delimited import MalformedError

_MAX_BATCH_ROWS = 4096
_MAX_BYTES = 2**32  # of a table in memory


def read_table(path: Path) -> pyarrow.Table:
    """Read a Parquet file, whose texts are checked to be UTF-8.

    Raises:
        MalformedError: no row, two columns of one name, or more than 4 GiB in memory.
        OSError, pyarrow.ArrowException: a file that cannot be read.
    """
    with path.open("rb") as file:  # a path would be searched for partitions
        table = _read_batches(pyarrow.parquet.ParquetFile(file))
    table.validate(full=True)
    if not table.num_rows:
        raise MalformedError("it has no row")
    if duplicates := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise MalformedError(f"it has two columns {duplicates[0]!r}")
    return table


def label_names(table: pyarrow.Table) -> dict[str, tuple[str, ...]]:
    """Return the label names by column from the metadata that ``datasets`` writes into a Parquet file.

    Raises:
        MalformedError: damaged metadata.
    """
    features = (table.schema.metadata or {}).get(b"huggingface")
    try:
        columns = json.loads(features or b"{}").get("info", {}).get("features", {}).items()
        return {name: tuple(column["names"]) for name, column in columns if column.get("_type") == "ClassLabel"}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise MalformedError("what `datasets` notes in it on its columns is damaged") from error


def arrow_table(columns: Mapping[str, Any], metadata: Mapping[bytes, bytes] | None = None) -> pyarrow.Table:
    """Return columns (lists, or columns of Arrow) as a table.

    Raises:
        MalformedError: a column whose values are of several kinds.
    """
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = values if isinstance(values, pyarrow.ChunkedArray) else pyarrow.array(values)
        except (pyarrow.ArrowException, OverflowError) as error:
            raise MalformedError(f"column {name!r} holds values of several kinds, which Parquet cannot") from error
    table = pyarrow.table(arrays)
    return table.replace_schema_metadata(metadata) if metadata else table


def _read_batches(file: pyarrow.parquet.ParquetFile) -> pyarrow.Table:
    """Read a file in batches, as a small file may expand to more than fits into memory."""
    batches, size = [], 0
    for batch in file.iter_batches(_batch_rows(file.metadata)):
        batches.append(batch)
        size += batch.nbytes
        if size > _MAX_BYTES:
            raise MalformedError(f"it expands to more than {_MAX_BYTES // 2**30} GiB; part it into several files")
    return pyarrow.Table.from_batches(batches, file.schema_arrow)


def _batch_rows(metadata: pyarrow.parquet.FileMetaData) -> int:
    """Return how many rows can be read in one batch, before the size is checked.

    A dictionary stores a value once, and each row may refer to it; no value is larger than the uncompressed columns of
    its row group.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [[group.column(number) for number in range(group.num_columns)] for group in groups]
    sizes = [sum(c.total_uncompressed_size for c in columns if c.has_dictionary_page) for columns in chunks]
    max_size = max(sizes, default=0)
    return max(1, min(_MAX_BATCH_ROWS, _MAX_BYTES // max(1, max_size)))
