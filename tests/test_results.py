"""The tables that README and docs show are those of the results that are kept."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")

#: what a line is called there -> in the table of the run, where that differs
CALLED = {
    "SLAT 17.5k": r"SLAT 17\.5k \(trial \d+\)",
    "SLAT 85.1k, recommended": r"SLAT 85\.1k \(trial \d+\)",
    "found pool": r"SLAT \S+ \(trial \d+\)",
    "the same, own weights": r"SLAT \S+ \(trial \d+\), own weights",
    "found for each task alone": r"SLAT of \S+ in all, each task alone",
    "evenly spread LoRA, shared": r"even LoRA [\d,]+",
    "LoRA r=1 on q and v, shared": "LoRA r=1",
    "full fine-tuning, shared": "full fine-tuning",
}
COLUMNS = {"headline": "bbc-headline", "article": "bbc-topic", "match": "bbc-match", "parameters in all": "parameters"}
COLUMNS |= {task: task.replace("-", "").lower() for task in ("SST-2", "TREC", "CoLA", "SICK", "RTE", "MRPC")}


def tables(text: str) -> list[list[list[str]]]:
    """Cells of each Markdown table, without marks of what is best or level with it."""
    result = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[[cell.strip(" *≈") for cell in line.split("|")[1:-1]] for line in lines.splitlines()] for lines in result]


@pytest.mark.parametrize(
    ("section", "run"),
    [
        ("Three tasks in one comparison", "three_tasks"),
        ("A decoder", "decoder_headline"),
        ("Several tasks, one pool", "multitask_embedded"),
        ("Several tasks, one pool", "multitask_nlu_small"),
    ],
)
def test_a_table_is_that_of_the_run(section: str, run: str) -> None:
    before = tables((KEPT / run / "comparison.md").read_text(encoding="utf-8"))[0]
    (part,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", RESULTS, re.DOTALL | re.MULTILINE)
    shown = next(table for table in tables(part) if {COLUMNS.get(name, name) for name in table[0][1:]} <= {*before[0]})
    assert len(shown) > 5
    for line in shown[2:]:
        named = CALLED.get(line[0], line[0])
        (row,) = [row for row in before if re.fullmatch(f"({named})(, recommended)?", row[0])]
        for name, cell in zip(shown[0][1:], line[1:], strict=True):
            value = row[before[0].index(COLUMNS.get(name, name))]
            assert cell in (value, value.split(" ± ")[0]), (line[0], name)


def test_the_first_table_is_that_of_the_demo() -> None:
    assert (KEPT / "quickstart" / "comparison.md").read_text(encoding="utf-8") in README


@pytest.fixture
def paired(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "experiments" / "benchmarks"))
    return importlib.import_module("paired")


def equal_params(kept: str) -> pd.DataFrame:
    return pd.DataFrame(json.loads((KEPT / kept / "results.json").read_text(encoding="utf-8"))["rows"])


def test_equal_params_is_computed_from_its_rows(paired: Any) -> None:
    rows = equal_params("equal_params")
    fixed = ["random", "uniform LoRA", "Houlsby"]
    assert paired.qualities(rows, ["SLAT", *fixed], ["SLAT, refitted"]) in RESULTS
    for method, rivals in (("SLAT", fixed), ("SLAT, refitted", ["SLAT", *fixed])):
        against = pd.concat([paired.paired(rows, method, rival) for rival in rivals])
        assert paired.differences(against, method, rivals) in RESULTS
    assert paired.loss_ratios(rows, "SLAT", fixed) in RESULTS


def test_equal_params_of_the_embedded_tasks_is_computed_from_its_rows(paired: Any) -> None:
    rows, rivals = equal_params("equal_params_embedded"), ["random", "uniform LoRA"]
    assert paired.qualities(rows, ["SLAT", *rivals]) in RESULTS
    against = pd.concat([paired.paired(rows, "SLAT", rival) for rival in rivals])
    assert paired.differences(against, "SLAT", rivals) in RESULTS
    assert paired.loss_ratios(rows, "SLAT", rivals) in RESULTS


def test_what_is_said_without_cola_is_computed_from_the_rows(paired: Any) -> None:
    rows = equal_params("equal_params")
    rows = rows[rows["task"] != "cola"]
    for method in ("SLAT", "SLAT, refitted"):
        result = paired.paired(rows, method, "uniform LoRA").set_index("budget")
        least = result.loc[1000]
        assert "{difference:.3f} ({low:+.3f} to {high:+.3f})".format(**least) in " ".join(RESULTS.split())
        assert (result.loc[4000:, "difference"].abs() < 0.005).all()


def test_what_twice_the_steps_are_worth_is_computed_from_its_rows(paired: Any) -> None:
    rows = equal_params("equal_params_one_seed")
    against = paired.paired(rows, "uniform LoRA, 2x steps", "uniform LoRA")
    assert paired.differences(against, "uniform LoRA, 2x steps", ["uniform LoRA"]) in RESULTS


def test_small_budgets_is_computed_from_its_rows(paired: Any) -> None:
    rows = equal_params("small_budgets")
    methods = ["head", "LoRA r=8", "SLAT", "random entries", "even cores", "even LoRA"]
    assert paired.table(rows, methods) in RESULTS
    compared = paired.against(rows, "SLAT", ["random entries", "even cores", "even LoRA"])
    assert paired.differences_to("SLAT", compared) in RESULTS
    assert paired.reaches(rows) in RESULTS


def test_every_command_keeps_its_results() -> None:
    for folder in KEPT.iterdir():
        assert f"experiments/results/{folder.name}" in README + RESULTS, folder
