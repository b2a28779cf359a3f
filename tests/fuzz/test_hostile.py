"""Content that is whole and hostile: bombs, and text that would become code, markup or a formula elsewhere."""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from slat_search import SlatError
from slat_search.analysis.formats import to_csv, to_latex, to_markdown
from slat_search.analysis.table_files import read_csv
from slat_search.config import load_config
from slat_search.export.card import _code
from slat_search.export.card_code import _literal
from slat_search.files import read_json
from slat_search.records import Recommended, Selection
from slat_search.structure import Structure
from slat_search.structure.packed import unpacked
from slat_search.tasks import parquet
from slat_search.tasks.rows import Rows, as_text, read_rows, without_formulas
from tests.records.test_records import FINAL, TUNING

FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "'=1", '=HYPERLINK("http://x")')
PLAIN = ("-3.5", "+4", "-1e-5", "a=b", "it's", "", "text - with a dash")


def yaml_bomb(levels: int) -> str:
    lines = ["name: run", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join([*lines, f"baselines: *a{levels - 1}"])


def merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (yaml_bomb(9), "stands for more than 100,000 values"),
        (merge_bomb(40), "stands for more than 100,000 values"),
        ("a: " + "[" * 1000, "not valid YAML"),
        ("a: x\n" * 200_000, "has 1,000,000 bytes; such a file has at most 524,288"),
        ("seed: " + "9" * 10_000, "not valid YAML"),
        ("name: 2001-99-99", "not valid YAML"),
    ],
)
def test_a_configuration_that_expands_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SlatError, match=message) as caught:
        load_config(tmp_path / "a.yaml")
    assert len(str(caught.value)) < 500


def test_a_structure_that_unpacks_to_gigabytes_is_one_sentence() -> None:
    packer = zlib.compressobj(9)
    parts = [packer.compress(b" " * 2**20) for _ in range(80)]
    bomb = base64.b85encode(b"".join([*parts, packer.flush()])).decode()
    assert len(bomb) < 300_000
    with pytest.raises(SlatError, match="has more than"):
        unpacked(bomb)


@pytest.mark.parametrize("size", [3 * 10**8, 10**30, 1.5, True, "2"])
def test_a_size_that_no_module_has_is_one_sentence(size: object) -> None:
    site = {"layer": 0, "name": "a.q", "role": "q", "d_in": 8, "d_out": 8}
    module = {**site, "kind": "lora", "size": size}
    raw = {"format": "slat-structure/1", "activation": "gelu", "scale": 2.0, "modules": [module]}
    with pytest.raises(SlatError, match="structure: "):
        Structure.from_dict(raw)


def test_deep_json_is_one_sentence(tmp_path: Path) -> None:
    for name, text in (("a.json", "[" * 200_000), ("a.jsonl", '{"text": ' + "[" * 200_000)):
        (tmp_path / name).write_text(text)
        with pytest.raises(SlatError, match=name):
            read_rows(tmp_path / name, "task.train")
        with pytest.raises(SlatError, match="damaged"):
            read_json(tmp_path / name)


def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(SlatError, match="is no regular file"):
        Recommended.read(tmp_path / "a.json")
    with pytest.raises(SlatError, match="is no regular file"):
        load_config(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "", "a\0b"])
def test_names_in_records_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    Selection.model_validate({"finals": [FINAL], "tuning": TUNING})
    for field in ("key", "label"):
        path = tmp_path / "selection.json"
        path.write_text(json.dumps({"finals": [{**FINAL, field: name}], "tuning": TUNING}))
        with pytest.raises(SlatError, match=rf"selection\.json: damaged \(finals\.0\.{field}"):
            Selection.read(path)
    (tmp_path / "best.json").write_text(json.dumps({"adapter": name}))
    with pytest.raises(SlatError, match=r"best\.json: damaged \(adapter"):
        Recommended.read(tmp_path / "best.json")


def test_no_text_of_a_table_is_a_formula_and_each_is_read_again(tmp_path: Path) -> None:
    table = pd.DataFrame({"method": [*FORMULAS, *PLAIN], "=quality": -0.5, "n": range(len(FORMULAS) + len(PLAIN))})
    (tmp_path / "a.csv").write_text(to_csv(table), newline="")
    cells = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    assert list(cells) == ["method", "'=quality", "n"]
    assert [*cells["method"]] == [*(f"'{cell}" for cell in FORMULAS), *PLAIN]
    assert (cells["'=quality"] == -0.5).all()
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv", keep_default_na=False), table)


def test_texts_of_a_labelled_file_are_no_formulas_in_csv_alone() -> None:
    it = Rows("it", {"text": [*FORMULAS[:4], *PLAIN], "n": [1, -2, 3.5, None, *PLAIN]})
    safe = without_formulas(it, ".csv")
    assert safe.values("text") == [*(f"'{cell}" for cell in FORMULAS[:4]), *PLAIN]
    assert safe.values("n")[:4] == ["1", "-2", "3.5", ""]
    assert "\n=1+1" not in as_text(safe, ".csv")
    assert without_formulas(it, ".jsonl") is it


def test_names_are_no_markup_in_tables() -> None:
    evil = "a|b\n<script>x</script> &lt; [x](javascript:y) \\ # ~ ^ { } % _ & $ ± **bold**"
    markdown = to_markdown(pd.DataFrame({"method": [evil], "quality": ["0.5"]}))
    assert len(markdown.splitlines()) == 3
    assert "<script" not in markdown
    assert "](" not in markdown
    assert "&amp;lt;" in markdown
    assert r"a\|b" in markdown
    assert "**bold**" in markdown
    line = to_latex(pd.DataFrame({"method": [evil], "quality": ["0.5"]})).splitlines()[4]
    assert line == (
        r"a|b <script>x</script> \&lt; [x](javascript:y) \textbackslash{} \# \textasciitilde{} \textasciicircum{} "
        r"\{ \} \% \_ \& \$ $\pm$ \textbf{bold} & 0.5 \\"
    )


@pytest.mark.parametrize("name", ['x"); import os; os.system("id") #', "a\nb", "```", "it's \\ 😀"])
def test_names_in_the_readme_of_an_export_are_literals(name: str) -> None:
    scope: dict[str, str] = {}
    exec(f"found = {_literal(name)}", scope)
    assert scope["found"] == name
    assert "\n" not in _literal(name)
    assert _code(name).count("`") == 2
    assert "\n" not in _code(name)


def test_parquet_that_expands_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pyarrow.table({"text": ["x" * 1000] * 100_000, "label": [0] * 100_000})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 50_000
    assert read_rows(tmp_path / "a.parquet", "task.train").values("label") == [0] * 100_000
    monkeypatch.setattr(parquet, "_MAX_BYTES", 2**24)
    with pytest.raises(SlatError, match=r"a\.parquet: it expands to more than"):
        read_rows(tmp_path / "a.parquet", "task.train")


def test_a_value_that_parquet_repeats_is_looked_at_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary holds a long value once; all rows of a batch would be gigabytes before their size is known."""
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 4096, "int32"), ["x" * 2**20])
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", store_schema=False)
    monkeypatch.setattr(parquet, "_MAX_BYTES", 2**26)
    pool = pyarrow.default_memory_pool()
    proxy = pyarrow.proxy_memory_pool(pool)
    pyarrow.set_memory_pool(proxy)
    try:
        with pytest.raises(SlatError, match=r"a\.parquet: it expands to more than"):
            read_rows(tmp_path / "a.parquet", "task.train")
        assert proxy.max_memory() < 2**29
    finally:
        pyarrow.set_memory_pool(pool)


def test_text_files_have_a_bound(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("wb") as file:
        file.truncate(2**31 + 1)  # sparse: nothing on the disk
    with pytest.raises(SlatError, match=r"--file: cannot read .*a\.csv: it has more than 2 GiB; make it Parquet"):
        read_rows(tmp_path / "a.csv", "--file")
