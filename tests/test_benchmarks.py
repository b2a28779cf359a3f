"""Benchmarks are commands that anyone can run: at least they start and say what they take."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import PreTrainedModel

from slat_search.config import Config
from slat_search.structure import find_sites
from slat_search.training.trial import space

BENCHMARKS = Path(__file__).parent.parent / "experiments" / "benchmarks"
COMMANDS = sorted(path.name for path in BENCHMARKS.glob("*.py") if "argparse" in path.read_text())
# all in one process, as their imports take seconds
SCRIPT = """
import contextlib, io, runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        runpy.run_path(name, run_name="__main__")
    print(name, said.getvalue().split()[:2])
"""


def test_every_benchmark_starts() -> None:
    command = [sys.executable, "-c", SCRIPT, *COMMANDS]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} ['usage:', '{name}']" for name in COMMANDS]
    assert len(COMMANDS) >= 4


@pytest.fixture
def task_overlap(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("task_overlap")


def test_the_contrast_of_related_tasks(task_overlap: Any) -> None:
    tasks = list("abcdef")
    related = {"b", "d", "e"}
    overlaps = pd.DataFrame(
        [[1.0 if i == j else 0.6 if {i, j} <= related else 0.2 for j in tasks] for i in tasks], tasks, tasks
    )
    assert task_overlap.contrast(overlaps, related) == pytest.approx(0.4)
    assert task_overlap.by_chance(overlaps, related) == pytest.approx(1 / 20)  # one of the sets of three in six
    alike = pd.DataFrame(0.5, tasks, tasks)
    assert task_overlap.contrast(alike, related) == 0
    assert task_overlap.by_chance(alike, related) == 1


KEPT = BENCHMARKS.parent / "results"


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("parts").together


def test_parts_of_a_comparison_are_put_together(together: Any) -> None:
    path = KEPT / "equal_params" / "results.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    mine = [{**row, "test": 0.0} for row in whole["rows"] if row["task"] == "cola" and row["budget"] == 64_000]
    cola = copy.deepcopy(whole["made_by"]["cola"])
    cola["config"]["baselines"] = []  # the benchmark has its own
    cola["config"]["sensitivity"] = {"weights": [7]}  # and no studies
    new = {**whole, "rows": mine, "made_by": {"cola": cola}}
    found = together(new, [path])
    assert found["rows"][: len(mine)] == mine  # what was made anew stands in the place of what was there
    others = [row for row in whole["rows"] if row["task"] != "cola" or row["budget"] != 64_000]
    assert found["rows"][len(mine) :] == others
    assert [part["made_by"] for part in found["earlier"]] == [part["made_by"] for part in (whole, *whole["earlier"])]
    assert "rows" not in found["earlier"][0]


def test_parts_that_were_made_in_another_way_are_refused(together: Any, tmp_path: Path) -> None:
    whole = json.loads((KEPT / "equal_params" / "results.json").read_text(encoding="utf-8"))
    with pytest.raises(SystemExit, match="precision is 'bfloat16' there and 'float32' here"):
        together(whole, [KEPT / "equal_params_one_seed" / "results.json"])
    other = copy.deepcopy(whole)
    for made in other["made_by"].values():
        made["config"]["gates"]["reach"] = 0.9
    (tmp_path / "results.json").write_text(json.dumps(other), encoding="utf-8")
    new = {**whole, "made_by": {"cola": whole["made_by"]["cola"]}}
    with pytest.raises(SystemExit, match=r"config\.gates is"):
        together(new, [tmp_path / "results.json"])


@pytest.mark.parametrize("budget", [16_000, 64_000, 256_000])
def test_what_has_widths_fills_the_budget(
    monkeypatch: pytest.MonkeyPatch, backbone: PreTrainedModel, budget: int
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    fixed = importlib.import_module("contestants").fixed
    sites = find_sites(backbone)
    made = {entry.method: entry.structure for entry in fixed(sites, space(Config()).supernet(sites), budget, 1, 1)}
    assert {"random", "uniform LoRA", "Houlsby"} <= set(made)
    for method, structure in made.items():
        assert 0.8 * budget < structure.params <= budget, method


def test_what_was_found_stands_in_its_row(monkeypatch: pytest.MonkeyPatch, backbone: PreTrainedModel) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    refits = importlib.import_module("contestants").refits
    rows = json.loads((KEPT / "equal_params" / "results.json").read_text(encoding="utf-8"))["rows"]
    rows = [row for row in rows if row["method"] == "SLAT" and "modules" in row]
    supernet = space(Config()).supernet(find_sites(backbone))
    again = [entry.structure for entry in refits(rows, supernet)]
    assert [structure.digest for structure in again] == [row["structure"] for row in rows]
    assert len({structure.params for structure in again}) > 1
    with pytest.raises(SystemExit, match="does not say what was found"):
        list(refits([{key: value for key, value in rows[0].items() if key != "modules"}], supernet))
