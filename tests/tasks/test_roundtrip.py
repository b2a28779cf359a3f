"""Tables of awkward text, saved by several writers and read back equal, row for row: as a run reads them and as
``slat predict`` does."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from slat_search.config import Task
from slat_search.inference.label_file import label_rows
from slat_search.inference.predictor import Predictor, load_predictor
from slat_search.tasks.files import tables_of_files
from slat_search.tasks.rows import read_rows, write_rows
from slat_search.training.context import Context
from tests.export.folders import saved

TEXT = 'my "text", 1'
NAMES = ("id", TEXT, "label")
PLAIN = [(f"id-{i}", f"a plain text {i}", label) for i, label in enumerate(["yes!", "no?"] * 4)]
PIECES = [
    '"',
    '""',
    ",",
    ", ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\\",
    '\\"',
    "'",
    ";",
    "|",
    "#",
    "=1+1",
    " ",
    "\u00a0",
]
PIECES += [
    "\0",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1a",
    "\x85",
    "\u2028",
    "\ufeff",
    "\u200b",
    "é",
    "e\u0301",
    "漢字",
    "👩\u200d🚀",
]
PIECES += ["NA", "null", "None", "nan", "007", "1e3", "true", "2020-01-01", "a", "word", "yes!", "no?", "{", "}", "[]"]
LABELS = ["yes!", "no?"]

texts = st.lists(
    st.one_of(st.sampled_from(PIECES), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=12
).map("".join)
texts = texts.filter(lambda text: bool(text.strip()))
ids = st.sampled_from(
    ["007", "7", "1.0", "1e5", "A10200", "NA", "", " x ", "true", "0x1F", "12345678901234567890", '"']
)


class Format(NamedTuple):
    """How a table is saved.

    Attributes:
        name: of the file.
        quoting: of the task or of the command line.
        writer: library that writes it.
    """

    name: str
    quoting: str | None
    writer: str


FORMATS = [
    Format("t.csv", None, "csv"),
    Format("t.csv", None, "csv all"),
    Format("t.CSV", None, "pandas"),
    Format("t.csv", None, "own"),
    Format("t.csv", "none", "lines"),
    Format("t.tsv", None, "lines"),
    Format("t.tsv", "quoted", "pandas"),
    Format("t.tsv", "quoted", "own"),
    Format("t[1].jsonl", None, "json"),
    Format("t.jsonl", None, "pandas"),
    Format("t.jsonl", None, "own"),
    Format("t.json", None, "json"),
    Format("t.json", None, "own"),
    Format("t.parquet", None, "pandas"),
    Format("t.parquet", None, "own"),
]
Table = list[tuple[str, str, str]]


def table(form: Format) -> st.SearchStrategy[Table]:
    """Awkward rows, and a few plain ones around them."""
    fits = texts
    if form.writer == "lines":  # what no file without quotes can hold
        banned = ("\r", "\n", "\t" if form.name.endswith("tsv") else ",")
        fits = texts.filter(lambda text: not any(character in text for character in banned))
    rows = st.lists(st.tuples(ids, fits, st.sampled_from(LABELS)), min_size=1, max_size=4)
    return rows.map(lambda some: [*PLAIN, *some, PLAIN[0]])


def save(rows: Table, folder: Path, form: Format) -> Path:
    path = folder / form.name
    separator = "\t" if path.suffix == ".tsv" else ","
    frame = pd.DataFrame(rows, columns=list(NAMES))
    objects = [dict(zip(NAMES, row, strict=True)) for row in rows]
    if form.writer == "own":
        write_rows(
            read_rows(save(rows, folder, Format("first.csv", None, "csv")), "--file"), path, "--out", form.quoting
        )
    elif form.writer == "lines":
        lines = [NAMES if separator == "\t" else ("id", "text", "label"), *rows]
        path.write_text("\n".join(map(separator.join, lines)), newline="", encoding="utf-8")
    elif form.writer == "json":
        ending = path.suffix == ".json"
        body = (
            json.dumps(objects, indent=1) if ending else "\n".join(json.dumps(o, ensure_ascii=False) for o in objects)
        )
        path.write_text(body, encoding="utf-8", newline="")
    elif form.writer.startswith("csv"):
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL if "all" in form.writer else csv.QUOTE_MINIMAL)
            writer.writerows([NAMES, *rows])
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep=separator, lineterminator="\r\n")
    return path


def rows_in(path: Path, quoting: str | None) -> Table:
    read = read_rows(path, "--file", quoting)
    return list(zip(*(read.values(name) for name in list(read.columns)[:3]), strict=True))


FAST = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.name}-{form.quoting}-{form.writer}")
def test_what_is_saved_is_read(form: Format) -> None:
    @FAST
    @given(table(form))
    def check(rows: Table) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = save(rows, Path(folder), form)
            assert rows_in(path, form.quoting) == rows  # slat predict
            text = "text" if form.writer == "lines" and ".csv" in form.name else TEXT
            task = Task.model_validate({"name": "t", "train": path, "text": [text], "quoting": form.quoting})
            assert tables_of_files(task)["train"].rows == [((text,), label) for _, text, label in rows]  # a run

    check()


@pytest.fixture
def predictor(context: Context, backbone: nn.Module, tmp_path: Path) -> Predictor:
    return load_predictor(saved(context, backbone, tmp_path / "adapter", "lora", "bias"))


@pytest.mark.parametrize("form", [FORMATS[0], FORMATS[5], FORMATS[8], FORMATS[13]], ids=lambda form: form.name)
def test_what_is_labelled_keeps_its_columns(predictor: Predictor, form: Format) -> None:
    """Through the real model, and into a file of the same kind."""

    @settings(FAST, max_examples=2)
    @given(table(form))
    def check(rows: Table) -> None:
        with tempfile.TemporaryDirectory() as folder:
            read = read_rows(save(rows, Path(folder), form), "--file", form.quoting)
            out = Path(folder) / f"out{Path(form.name).suffix}"
            labelled = label_rows(predictor, read, [list(read.columns)[1]])
            write_rows(labelled, out, "--out", form.quoting)
            assert rows_in(out, form.quoting) == rows
            again = read_rows(out, "--file", form.quoting)
            assert again.values("predicted") == labelled.values("predicted")
            assert set(again.values("predicted")) <= set(predictor.labels)

    check()
