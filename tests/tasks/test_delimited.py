"""CSV and TSV: nothing of a file is lost, joined, moved or rewritten without a word."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from slat_search import SlatError
from slat_search.config import Task
from slat_search.tasks import SPLITS, TaskData, load_task
from slat_search.tasks.delimited import Layout, MalformedError, parse
from slat_search.tasks.rows import read_rows

CSV = Layout(",", True, "task.quoting")
TSV = Layout("\t", False, "task.quoting")


def fields(text: str, layout: Layout = CSV, labels: str | None = None) -> list[list[str]]:
    return [row.fields for row in parse(text, layout, labels)[1]]


def load(path: Path, **options: object) -> TaskData:
    return load_task(Task.model_validate({"name": "mine", "train": path, **options}), seed=0)


def all_texts(task: TaskData) -> set[str]:
    return {e.texts[0] for split in SPLITS for e in task.splits[split]}


def items(separator: str, strays: tuple[int, ...] = (), closed: tuple[int, ...] = ()) -> str:
    """Two hundred rows; a quote before the texts of ``strays`` and after those of ``closed``."""
    numbers = range(1, 201)
    texts = ('"' * (i in strays) + f"item {i} was good" + '"' * (i in closed) for i in numbers)
    rows = (f"{text}{separator}{'pos' if i % 2 else 'neg'}\n" for i, text in zip(numbers, texts, strict=True))
    return f"text{separator}label\n" + "".join(rows)


@pytest.mark.parametrize(
    ("strays", "closed", "message"),
    [
        ((20, 150), (), r"row 20 \(line 21\) begins a field with a quote that closes within a field, in line 151"),
        ((20,), (), r"row 20 \(line 21\) begins a field with a quote that is never closed"),
        ((20,), (150,), r"row 20 \(line 21\) begins a field with a quote that swallows whole rows, down to line 151"),
        ((20,), (21,), r"row 20 \(line 21\) begins a field with a quote that swallows whole rows, down to line 22"),
        ((1,), (200,), r"row 1 \(line 2\) begins a field with a quote that swallows whole rows, down to line 201"),
        ((2,), (199,), r"row 2 \(line 3\) begins a field with a quote that swallows whole rows, down to line 200"),
        ((20, 30), (25, 190), r"row 20 \(line 21\) begins a field with a quote that swallows whole rows"),
    ],
)
def test_a_stray_quote_swallows_no_row(
    tmp_path: Path, strays: tuple[int, ...], closed: tuple[int, ...], message: str
) -> None:
    path = tmp_path / "train.csv"
    path.write_text(items(",", strays, closed))
    with pytest.raises(SlatError, match=rf"task\.train: cannot read {path}: {message}.* set task\.quoting to none"):
        load(path)
    as_text = load(path, quoting="none")  # the way out that the message names
    assert len(all_texts(as_text)) == 200
    assert '"item 20 was good' in all_texts(as_text) or 20 not in strays


def test_a_tsv_takes_quotes_as_text(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text(items("\t", (20, 150), (60,)))
    texts = all_texts(load(path))
    assert len(texts) == 200
    assert {'"item 20 was good', 'item 60 was good"', '"item 150 was good'} <= texts


def test_a_quoted_tsv_says_so(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    rows = [(f'say "{i}"' + "\n\tagain" * (i % 3 == 0), f"c{i % 2}") for i in range(60)]
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, sep="\t", index=False)
    assert all_texts(load(path, quoting="quoted")) == {text for text, _ in rows}
    with pytest.raises(SlatError, match=r"fields?, but the header has 2; .* set task\.quoting to quoted"):
        load(path)
    path.write_text('text\tlabel\n"say ""1"""\tc1\n' + "".join(f"say {i}\tc{i % 2}\n" for i in range(60)))
    task = load(path)
    assert 'say ""1"""' in {text.removeprefix('"') for text in all_texts(task)}
    assert any("1 row with a text in quotes, which are taken as part of it, such as row 1" in n for n in task.notes)


LETTER = 'Dear John, I write\nto you, my friend,\n\nand say "no", again.\r\nYours,\nJane'
POEM = "Roses are red,\nviolets are blue,\nsugar is sweet,\nand so are you"
TABLE = "name,score\nann,3\nbob,4"
CODE = "a,b\nc,d\ne,f"


@pytest.mark.parametrize("text", [LETTER, POEM, TABLE, CODE, "\nstarts", "ends\n", '""', "a\r\rb", "\n\n\n", "x,pos"])
@pytest.mark.parametrize("writer", ["pandas", "excel", "all"])
def test_texts_of_several_lines_are_read_as_they_are(tmp_path: Path, text: str, writer: str) -> None:
    rows = [(f"item {i}", "pos" if i % 2 else "neg") for i in range(40)]
    rows[7] = (text, "pos")
    path = tmp_path / "train.csv"
    if writer == "pandas":
        pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False, lineterminator="\r\n")
    else:
        quoting = csv.QUOTE_ALL if writer == "all" else csv.QUOTE_MINIMAL
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file, "excel", quoting=quoting).writerows([("text", "label"), *rows])
    read = read_rows(path, "task.train", labels="label")
    assert list(zip(read.values("text"), read.values("label"), strict=True)) == rows
    unlabelled = read_rows(path, "--file")
    assert unlabelled.values("text") == [text for text, _ in rows]
    if "\n" in text:
        assert "1 row with line breaks in quotes; row 8 takes" in read.notes[0]


@pytest.mark.parametrize("others", ["id", "score", "kind", "free"])
def test_rows_are_swallowed_in_no_file_without_labels(others: str) -> None:
    """What `slat predict` reads has no labels: other columns tell a swallowed row."""
    values = {
        "id": lambda i: f"{i:03}",
        "score": lambda i: i / 7,
        "kind": lambda i: "ab"[i % 2],
        "free": lambda i: f"t{i}x",
    }
    lines = [f"item {i},{values[others](i)}" for i in range(50)]
    lines[10], lines[30] = f'"{lines[10]}', lines[30].replace(",", '",')
    with pytest.raises(MalformedError, match=r"row 11 \(line 12\) .* swallows whole rows, down to line 32"):
        parse("\n".join(["text,other", *lines]), CSV)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('text,label\na,x\nhe said \\"hi, all\\" 3,pos\n', r"row 2 \(line 3\) has 3 fields, but the header has 2; .*"
         r'a quote in it is written "", not \\"$'),
        ("text,label\nwell, yes,x\nwell, no,y\n", r"has 3 fields, .*; a field with a comma must stand in quotes$"),
        ("text,label\na,x,\nb,y,\n", r"row 1 \(line 2\) has 3 fields, .*: a needless comma ends the line$"),
        ("id,text,label\n1,a,x\n2,b\n", r"row 2 \(line 3\) has 2 fields, but the header has 3$"),
        ("text,label\na,x\n\n\nb\n", r"row 2 \(line 5\) has 1 field, but the header has 2$"),
        ('text,label\n"a" said b,x\n', r"row 1 \(line 2\) begins a field with a quote that closes within a field"),
        ('text,label\n"he said \\"hi\\" 3",x\n', r"row 1 \(line 2\) begins a field with a quote that closes within"),
        ("text,text,label\na,b,x\n", "it has two columns 'text'$"),
        ("text,,,label\na,1,2,x\n", "it has two columns without a name$"),
        ('"text,label\na,x\n', "the header begins a field with a quote that is never closed"),
        ("text;label\na;x\n", r"has no column 'text'; it has text;label; its fields are separated by semicolons"),
        ("text;label\nhello, you;x\n", r"row 1 \(line 2\) has 2 fields, .* its fields are separated by semicolons"),
        ("This film is simply great fun for all,1\nb,2\n", "the first line of a .csv or .tsv names the columns$"),
        ("text\tlabel\na\tx\n", "its fields are separated by tabs: a .csv wants commas, a .tsv tabs"),
        ("great film,pos\nbad film,neg\n", "has no column 'text'; it has great film, pos$"),
        ("text, label\na,x\n", "has no column 'label'; it has text, ' label'$"),
        ("text,label\na,x\nb,\n", "row 2 has no label$"),
        ("text,label\na,x\nb,  \n", "row 2 has no label$"),
        ("text,label\na,x\n,\n", "row 2 has no label$"),
        ("text,label\na,x\n\u00a0,y\n", "row 2 has an empty text$"),
        ("\n\n\n", "the file is empty$"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_an_error_that_names_the_row(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(content)
    with pytest.raises(SlatError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_quoted_header_of_an_unquoted_file_says_how() -> None:
    with pytest.raises(
        MalformedError, match="has 3 fields, but the header has 2; a field with a tab needs quotes: set"
    ):
        parse("text\tlabel\na\tb\tx\n", TSV)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_marks(tmp_path: Path, end: str, mark: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes((mark + end.join(["text,label", '"a, b",x', "", "c\u2028d\x0be\x85f,y", "nul\0,z"])).encode())
    read = read_rows(path, "--file")
    assert read.values("text") == ["a, b", "c\u2028d\x0be\x85f", "nul\0"]
    assert read.values("label") == ["x", "y", "z"]


def test_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("text,label\na,x\n", encoding="utf-16")
    with pytest.raises(SlatError, match="it is UTF-16; save it as UTF-8"):
        load(path)
    path.write_bytes("text,label\ra,x\rb\u00e9,y\r".encode("latin-1"))
    with pytest.raises(SlatError, match="line 3 is not UTF-8"):
        load(path)


def test_fields_of_any_length() -> None:
    long = "word " * 100_000
    assert fields(f'text,label\n{long},x\n"{long}\n""{long}""",y\n') == [[long, "x"], [f'{long}\n"{long}"', "y"]]


def test_columns_stay_text(tmp_path: Path) -> None:
    """Also one that looks like numbers for ten thousand rows, and empty names in the header."""
    path = tmp_path / "train.csv"
    rows = [(f"{i:06}", f"text {i}", f"{i % 2}", "") for i in range(10_500)] + [("A10200", "1e3", "1", "")]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("id", "text", "label", ""), *rows])
    path.write_text(buffer.getvalue(), newline="")
    read = read_rows(path, "task.train")
    assert list(zip(*(read.values(name) for name in read.columns), strict=True)) == rows
    assert len(all_texts(load(path))) == len(rows)


@pytest.mark.parametrize(
    ("name", "other"), [("train[1].csv", "train1.csv"), ("tr*n.csv", "train.csv"), ("a?.csv", "ab.csv")]
)
def test_a_name_is_no_pattern(tmp_path: Path, name: str, other: str) -> None:
    for file, word in ((name, "right"), (other, "wrong")):
        (tmp_path / file).write_text("text,label\n" + "".join(f"{word} {i},{i % 2}\n" for i in range(40)))
    assert all(text.startswith("right") for text in all_texts(load(tmp_path / name)))


@pytest.mark.parametrize("name", ["label=1.parquet", "a::b.csv", "{x,y}.jsonl", "100%.tsv", "file:x.json", " .csv"])
def test_odd_names_of_every_format(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "label=7" / "[0-9]"
    folder.mkdir(parents=True)
    rows = pd.DataFrame({"text": [f"text {i}" for i in range(40)], "label": ["ab"[i % 2] for i in range(40)]})
    if name.endswith(".parquet"):
        rows.to_parquet(folder / "x")
        (folder / "x").rename(folder / name)
    elif name.endswith(("json", "jsonl")):
        (folder / name).write_text(rows.to_json(orient="records", lines=name.endswith("l")))
    else:
        (folder / name).write_text(rows.to_csv(index=False, sep="\t" if name.endswith(".tsv") else ","))
    task = load(folder / name)
    assert all_texts(task) == set(rows["text"])
    assert task.labels == ("a", "b")
