"""``slat predict``: texts on the command line, and files of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from torch import nn

from slat_search import load
from slat_search.cli import main
from slat_search.training.context import Context
from tests.conftest import TEXTS
from tests.export.folders import description_of, saved

TITLES = [*TEXTS, 'A "quoted", long\nheadline', "007", "NA", "Größe: 80 € mehr"]


@pytest.fixture
def adapter(context: Context, backbone: nn.Module, tmp_path: Path) -> Path:
    return saved(context, backbone, tmp_path / "adapter", "lora", "bias")


@pytest.fixture
def pairs(adapter: Path) -> Path:
    with description_of(adapter) as (_, task):
        task["columns"] = ["headline", "article"]
    return adapter


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)])


def written(path: Path, rows: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        rows.to_parquet(path)
    elif path.suffix in (".json", ".jsonl"):
        rows.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    else:
        rows.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix in (".json", ".jsonl"):
        return pd.read_json(path, lines=path.suffix == ".jsonl", dtype={"headline": str})
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype={"headline": str}, keep_default_na=False)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_row_of_a_file_is_labelled_and_keeps_its_columns(adapter: Path, tmp_path: Path, ending: str) -> None:
    rows = pd.DataFrame({"number": range(len(TITLES)), "headline": TITLES})
    options = ["--quoting", "quoted"] if ending == ".tsv" else []  # as pandas writes it
    file = written(tmp_path / f"in{ending}", rows)
    done = predict(adapter, "--file", file, "--out", tmp_path / f"out{ending}", *options)
    assert done.exit_code == 0, done.output
    assert f"{len(TITLES)} rows" in done.stdout
    labelled = read(tmp_path / f"out{ending}")
    predictor = load(adapter)
    assert list(labelled) == ["number", "headline", "predicted", *(f"p({label})" for label in predictor.labels)]
    assert labelled["headline"].tolist() == TITLES
    assert labelled["number"].tolist() == rows["number"].tolist()
    expected = predictor(TITLES)
    assert np.allclose(labelled.iloc[:, 3:].to_numpy(dtype=float), expected, atol=1e-6)
    assert labelled["predicted"].tolist() == [predictor.labels[best] for best in expected.argmax(axis=1)]


def test_without_out_it_is_printed(adapter: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "in.csv", pd.DataFrame({"title": TITLES}))
    table = predict(adapter, "--file", file, "--column", "title")
    assert table.exit_code == 0, table.output
    as_csv = pd.read_csv(io.StringIO(table.stdout), dtype={"title": str}, keep_default_na=False)
    lines = predict(adapter, "--file", file, "--column", "title", "--json").stdout.splitlines()
    as_json = [json.loads(line) for line in lines]
    assert as_csv["title"].tolist() == [row["title"] for row in as_json] == TITLES
    assert as_csv["predicted"].tolist() == [row["predicted"] for row in as_json]


def test_a_file_of_text_keeps_its_text(adapter: Path, tmp_path: Path) -> None:
    """Numbers stay as they are written, a stray quote swallows no row, and a TSV may hold quotes as text."""
    rows = [("007", "Markets fall", "1.50"), ("1e3", 'A "quoted" word, and more', ""), ("NA", '"Stray', "null")]
    (tmp_path / "in.TSV").write_text("id\theadline\tn\n" + "".join("\t".join(row) + "\n" for row in rows))
    done = predict(adapter, "--file", tmp_path / "in.TSV", "--out", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    labelled = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert list(labelled[["id", "headline", "n"]].itertuples(index=False, name=None)) == rows
    (tmp_path / "in.csv").write_text(
        "id,headline\n" + "".join(f"{i},{chr(34) * (i in (2, 7))}text {i}\n" for i in range(9))
    )
    done = predict(adapter, "--file", tmp_path / "in.csv")
    assert done.exit_code == 2
    assert "row 3 (line 4) begins a field with a quote that closes within a field, in line 9" in done.stderr
    assert "or set --quoting to none if quotes are text" in done.stderr
    done = predict(adapter, "--file", tmp_path / "in.csv", "--quoting", "none", "--json")
    assert [json.loads(line)["headline"] for line in done.stdout.splitlines()][2] == '"text 2'


def test_notes_go_to_stderr_and_results_fit_their_file(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('headline\n"two\nlines"\none\n')
    done = predict(adapter, "--file", tmp_path / "in.csv")
    assert done.stderr == f"{tmp_path / 'in.csv'}: 1 row with line breaks in quotes; row 1 takes 2 lines\n"
    assert pd.read_csv(io.StringIO(done.stdout))["headline"].tolist() == ["two\nlines", "one"]
    wrong = predict(adapter, "--file", tmp_path / "in.csv", "--out", tmp_path / "out.tsv")
    assert (wrong.exit_code, (tmp_path / "out.tsv").exists()) == (2, False)
    assert "a tab or line break in 'two\\nlines' needs quotes: set --quoting to quoted" in wrong.stderr
    assert (
        predict(adapter, "--file", tmp_path / "in.csv", "--out", tmp_path / "out.tsv", "--quoting", "quoted").exit_code
        == 0
    )


def test_pairs_come_from_two_columns(pairs: Path, tmp_path: Path) -> None:
    rows = pd.DataFrame({"article": TITLES[::-1], "headline": TITLES})
    done = predict(pairs, "--file", written(tmp_path / "in.jsonl", rows), "--out", tmp_path / "out.parquet")
    assert done.exit_code == 0, done.output
    expected = load(pairs)([*zip(TITLES, TITLES[::-1], strict=True)])
    assert np.allclose(read(tmp_path / "out.parquet").iloc[:, 3:], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("title\na\n", (), "--file: in.csv has no column 'headline'; it has title"),
        ("n,headline\n1,a\n2,  \n", (), "--file: in.csv row 2 has an empty text"),
        ("headline\n", (), "--file: cannot read in.csv: no row follows the header"),
        ("", (), "--file: cannot read in.csv: the file is empty"),
        ("headline,predicted\na,b\n", (), "--file: in.csv has a column 'predicted' already"),
        (
            "headline\na\n",
            ("--column", "headline", "--column", "headline"),
            "--column: given 2 times; the adapter wants 1",
        ),
        ("headline\na\n", ("--out", "in.csv"), "--out: in.csv exists already"),
        ("headline\na\n", ("--out", "out.xlsx"), "--out: out.xlsx must end in .csv, .tsv, .jsonl, .json or .parquet"),
        ("headline\na\n", ("--out", "nowhere/out.csv"), "--out: no such folder: nowhere"),
        (
            "headline\na\n",
            ("--out", "out.csv", "--json"),
            "--json: is for what is printed; the ending of --out says what is written",
        ),
        ("headline\na\n", ("--text", "a"), "predict: give either --text or --file"),
        ("headline\na\n", ("--text-pair", "a"), "--text-pair: of a file, name both columns with --column"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "in.csv").write_text(content)
    monkeypatch.chdir(tmp_path)
    done = predict(adapter, "--file", "in.csv", *arguments)
    assert (done.exit_code, done.stderr) == (2, f"error: {message}\n")
    assert (tmp_path / "in.csv").read_text() == content


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "predict: give either --text or --file"),
        (("--text", "a", "--out", "out.csv"), "predict: --column, --quoting, --raw and --out belong to --file"),
        (("--text", "a", "--text", "b", "--text-pair", "c"), "--text-pair: given 1 times, but --text 2 times"),
    ],
)
def test_what_does_not_go_together(adapter: Path, arguments: tuple[str, ...], message: str) -> None:
    done = predict(adapter, *arguments)
    assert (done.exit_code, done.stderr) == (2, f"error: {message}\n")


def piped(adapter: Path, given: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["predict", str(adapter), "--file", "-", *options], input=given)


@pytest.mark.parametrize(
    "given",
    [
        "".join(json.dumps({"headline": text}) + "\n" for text in TEXTS),
        json.dumps([{"headline": text} for text in TEXTS]),
        "number,headline\n" + "".join(f'{k},"{text}"\n' for k, text in enumerate(TEXTS)),
        "headline\tnumber\n" + "".join(f"{text}\t{k}\n" for k, text in enumerate(TEXTS)),
        "headline\n" + "".join(f"{text}\n" for text in TEXTS),
        "".join(f"{text}\n\n" for text in TEXTS),
    ],
)
def test_standard_input_is_read_in_every_form(adapter: Path, given: str) -> None:
    done = piped(adapter, given, "--json")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["headline"] for row in rows] == [*TEXTS]
    wanted = load(adapter)([*TEXTS])
    labels = load(adapter).labels
    assert [row["predicted"] for row in rows] == [labels[k] for k in wanted.argmax(axis=1)]
    assert ("names no column 'headline'" in done.stderr) == (given.startswith(TEXTS[0]))


def test_lines_are_texts_with_all_their_signs(adapter: Path) -> None:
    done = piped(adapter, 'he said "no", twice\n"quoted"\nwith, commas\n')
    assert done.exit_code == 0, done.output
    table = pd.read_csv(io.StringIO(done.stdout))
    assert table["headline"].tolist() == ['he said "no", twice', '"quoted"', "with, commas"]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("", (), "--file: nothing came in through standard input"),
        ("\n \n", (), "--file: nothing came in"),
        ('{"headline": ', (), "--file: cannot read standard input: line 1 is not JSON"),
        ("text,label\na,b\n", ("--column", "body"), "--file: standard input has no column 'body'; it has text, label"),
        ("headline\n", (), "--file: cannot read standard input: no row follows the header"),
    ],
)
def test_a_fault_of_standard_input_is_one_sentence(
    adapter: Path, given: str, options: tuple[str, ...], message: str
) -> None:
    done = piped(adapter, given, *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_pairs_do_not_come_as_lines(pairs: Path) -> None:
    done = piped(pairs, "one text\n")
    assert done.exit_code == 2
    done = piped(pairs, "headline,article\none,two\n")
    assert done.exit_code == 0, done.output


def test_a_text_is_no_formula_in_csv_unless_it_is_asked_for(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('headline,n\n"=HYPERLINK(""http://x"")",-1\n- a dash,2\n')
    for options, first, second in (((), "'=HYPERLINK", "'- a dash"), (("--raw",), "=HYPERLINK", "- a dash")):
        out = tmp_path / f"out{len(options)}.csv"
        told = predict(adapter, "--file", tmp_path / "in.csv", "--column", "headline", "--out", out, *options)
        assert told.exit_code == 0, told.output
        labelled = pd.read_csv(out)
        assert labelled["headline"][0].startswith(first)
        assert labelled["headline"][1] == second
        assert labelled["n"].tolist() == [-1, 2]
    assert predict(adapter, "--text", "a", "--raw").exit_code == 2
