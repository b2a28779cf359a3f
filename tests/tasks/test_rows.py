"""JSON and Parquet as they are, texts of every type, and what cannot be read or written, in one sentence."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from slat_search import SlatError
from slat_search.config import Task
from slat_search.tasks import SPLITS, load_task
from slat_search.tasks.files import texts_in
from slat_search.tasks.rows import (
    Rows,
    as_text,
    check_writable,
    read_rows,
    write_rows,
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (1.5, "1.5"),
        (True, "True"),
        (b"caf\xc3\xa9", "café"),
        (["a", "list", "of", "tokens"], "a list of tokens"),
        ("2020-01-01 00:00:00", "2020-01-01 00:00:00"),
        (" kept as it is\n", " kept as it is\n"),
    ],
)
def test_texts_of_every_type(tmp_path: Path, value: Any, text: str) -> None:
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [value, value], "label": ["a", "b"]}), path)
    assert texts_in(read_rows(path, "--file"), ["text"], "x") == [(text,)] * 2
    if not isinstance(value, bytes):
        lines = write(tmp_path / "train.jsonl", json.dumps({"text": value, "label": 1}) + "\n")
        assert texts_in(read_rows(lines, "--file"), ["text"], "x") == [(text,)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "has an empty text"),
        ("", "has an empty text"),
        ("\u2003\n", "has an empty text"),
        (float("nan"), "has an empty text"),
        ([], "has an empty text"),
        (["", " "], "has an empty text"),
        ([101, 2009, 102], r"has a text that is none but a list: \[101, 2009, 102\]"),
        ({"en": "word"}, "has a text that is none but a dict: {'en': 'word'}"),
        (b"\xff\xfe", "has a text of bytes that are not UTF-8"),
    ],
)
def test_what_is_no_text(value: Any, message: str) -> None:
    with pytest.raises(SlatError, match=f"--file: mine row 2 {message}"):
        texts_in(Rows("mine", {"text": ["a", value]}), ["text"], "--file: mine")


def test_token_lists_train(tmp_path: Path) -> None:
    rows = [{"text": ["word", str(i)], "label": "ab"[i % 2]} for i in range(40)]
    path = write(tmp_path / "train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(Task(name="mine", train=path), seed=0)
    assert {e.texts[0] for s in SPLITS for e in task.splits[s]} == {f"word {i}" for i in range(40)}


AWKWARD: list[dict[str, Any]] = [
    {"id": "007", "text": "a\u2028b\u2029c\x85d", "date": "2020-01-01T00:00:00", "n": 2**70, "mixed": 1},
    {"id": "7", "text": "<b> &amp; </b> \\/", "date": "2020-01-01", "n": 1, "mixed": "one"},
    {"id": "x", "text": "\U0001f600", "date": "", "n": None, "mixed": [1, {"a": None}], "late": 1.0},
]


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_json_is_read_and_written_as_it_is(tmp_path: Path, ending: str) -> None:
    """No date, no number and no mark is rewritten; a line ends where JSON lines end and nowhere else."""
    body = json.dumps(AWKWARD) if ending == ".json" else "\r\n".join(json.dumps(r, ensure_ascii=False) for r in AWKWARD)
    rows = read_rows(write(tmp_path / f"in{ending}", "\ufeff" + body), "--file")
    assert [rows.values(name) for name in rows.columns] == [[r.get(name) for r in AWKWARD] for name in rows.columns]
    write_rows(rows, tmp_path / f"out{ending}", "--out")
    assert read_rows(tmp_path / f"out{ending}", "--file").columns == rows.columns
    with pytest.raises(SlatError, match=r"--out: cannot write .*: column 'n' holds values .* Parquet cannot"):
        check_writable(rows, tmp_path / "out.parquet", "--out")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "a\u2028b"}\n\n{"text": oops}\n', "line 3 is not JSON"),
        ("a.jsonl", '{"text": "a\\u2028b"}\r{"text": "c\x85"}\r[]\r', "line 3 is JSON, but no object"),
        ("a.jsonl", '[{"text": "a"}]', "line 1 is JSON, but no object"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "line 1: an object has 'text' twice"),
        ("a.jsonl", '{"text": "half \\ud83d"}\n', "line 1 has half a character"),
        ("a.jsonl", "[" * 100_000, "line 1: maximum recursion depth"),
        ("a.json", '[{"text": "a"}, {"text": "\\udc00"}]', "item 2 has half a character"),
        ("a.json", '[{"text": "a"}, 2]', "item 2 is JSON, but no object"),
        ("a.json", '[{"text": "a", "text": "b"}]', "an object has 'text' twice"),
        ("a.json", "[]", "the list is empty"),
        ("a.json", '{\n "text": {"0": "a"}\n}', "line 1 is not JSON"),
        ("a.parquet", b"PAR1 and no more", "(Parquet|parquet)"),
        ("a.parquet", b"", "Parquet file size is 0 bytes"),
        ("a.CSV", b"text,label\n", "no row follows the header"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(SlatError, match=f"--file: cannot read {tmp_path / name}: .*{message}") as caught:
        read_rows(write(tmp_path / name, content), "--file")
    assert "\n" not in str(caught.value)


def test_an_unreadable_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with pytest.raises(SlatError, match=r"--file: .*folder\.csv is no regular file"):
        read_rows(folder, "--file")
    with pytest.raises(SlatError, match=r"must end in \.csv, \.tsv, \.jsonl, \.json or \.parquet"):
        read_rows(write(tmp_path / "a.csv.gz", b"\x1f\x8b"), "--file")


def test_parquet_keeps_its_types_and_its_index(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "text": pd.Categorical(["a", "b", "a"]),
            "when": pd.to_datetime(["2020-01-01", None, "2021-06-01 12:00:00.000000001"], format="ISO8601"),
            "n": pd.array([1, None, 3], dtype="Int8"),
        },
        index=["x", "y", "z"],
    )
    frame.to_parquet(tmp_path / "in.parquet")
    rows = read_rows(tmp_path / "in.parquet", "--file")
    write_rows(rows.with_columns({"predicted": ["p", "q", "r"]}), tmp_path / "out.parquet", "--out")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet").drop(columns="predicted"), frame)
    assert as_text(rows, ".csv").splitlines()[1] == "a,2020-01-01 00:00:00,1,x"
    assert json.loads(as_text(rows, ".jsonl").splitlines()[1]) == {
        "text": "b", "when": None, "n": None, "__index_level_0__": "y",
    }  # fmt: skip


def test_parquet_of_datasets_is_one_again(tmp_path: Path) -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}, features).to_parquet(tmp_path / "in.parquet")
    rows = read_rows(tmp_path / "in.parquet", "--file")
    write_rows(rows.with_columns({"predicted": ["p", "q"]}), tmp_path / "out.parquet", "--out")
    again = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=str(tmp_path / "cache"))
    assert again.features["label"] == features["label"]
    assert again["predicted"][:] == ["p", "q"]


def test_values_as_text_of_cells() -> None:
    values = [b"\xc3\xa9", b"\xff", [1, "é"], {"a": None}, None, True, 1.5, Decimal("1.10"), "a,b"]
    rows = Rows("mine", {"v": values, "n": list(range(len(values)))})
    assert as_text(rows, ".csv").splitlines() == [
        "v,n", "é,0", "\\xff,1", '"[1, ""é""]",2', '"{""a"": null}",3', ",4", "True,5", "1.5,6", "1.10,7", '"a,b",8',
    ]  # fmt: skip


def test_what_a_file_cannot_hold(tmp_path: Path) -> None:
    rows = Rows("mine", {"text": ["a\tb"], "n": [1]})
    with pytest.raises(
        SlatError, match=r"--out: cannot write .*: a tab or line break in 'a\\tb' needs quotes: set --quoting"
    ):
        write_rows(rows, tmp_path / "out.tsv", "--out")
    assert not (tmp_path / "out.tsv").exists()
    write_rows(rows, tmp_path / "out.tsv", "--out", "quoted")
    assert read_rows(tmp_path / "out.tsv", "--file", "quoted").values("text") == ["a\tb"]
    with pytest.raises(SlatError, match=r"--out: cannot write .*: File exists"):
        write_rows(rows, tmp_path / "out.tsv", "--out", "quoted")


def test_a_date_beyond_those_of_python_is_one_sentence(tmp_path: Path) -> None:
    times = pyarrow.array([2**62], pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "when": times}), tmp_path / "a.parquet")
    rows = read_rows(tmp_path / "a.parquet", "task.train")
    assert rows.values("text") == ["a"]
    with pytest.raises(SlatError, match=r"a\.parquet: column 'when' cannot be read: "):
        rows.values("when")
