"""Benchmarks are commands that anyone can run: at least they start and say what they take."""

from __future__ import annotations

import copy
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import PreTrainedModel

from slat_search.config import Config
from slat_search.structure import find_sites
from slat_search.training.jobs import apply_job
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


LITTLE = {
    "step_time.py": "--rounds 1 --batch 2 --length 8",
    "trial_overhead.py": "--trials 2 --steps 4 --rounds 1",
    "search_efficiency.py": "--trials 2 --steps 10 --seeds 1 --rows 64 --out OUT",
    "small_budgets.py": "--tasks bbc-headline --budgets 144 --seeds 1 --steps 12 --methods SLAT head --out OUT",
    "equal_params.py": "--tasks bbc-headline --budgets 1000 --seeds 1 --steps 12 --methods SLAT --out OUT",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LITTLE)
def test_a_benchmark_runs_in_little(name: str, tmp_path: Path) -> None:
    arguments = [str(tmp_path) if argument == "OUT" else argument for argument in LITTLE[name].split()]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent.parent)}
    command = [sys.executable, BENCHMARKS / name, *arguments]
    done = subprocess.run(command, cwd=BENCHMARKS, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) >= 2


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
    result = together(new, [path])
    assert result["rows"][: len(mine)] == mine  # what was made anew stands in the place of what was there
    others = [row for row in whole["rows"] if row["task"] != "cola" or row["budget"] != 64_000]
    assert result["rows"][len(mine) :] == others
    assert [part["made_by"] for part in result["earlier"]] == [part["made_by"] for part in (whole, *whole["earlier"])]
    assert "rows" not in result["earlier"][0]


def test_parts_that_were_made_in_another_way_are_refused(together: Any, tmp_path: Path) -> None:
    whole = json.loads((KEPT / "equal_params" / "results.json").read_text(encoding="utf-8"))
    with pytest.raises(SystemExit, match="precision is 'bfloat16' there and 'float32' here"):
        together(whole, [KEPT / "equal_params_one_seed" / "results.json"])
    other = copy.deepcopy(whole)
    for made in other["made_by"].values():
        made["config"]["gates"]["depth_exponent"] = 0.9
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
    supernet = {entry.method: entry.structure for entry in fixed(sites, space(Config()).supernet(sites), budget, 1, 1)}
    assert {"random", "uniform LoRA", "Houlsby"} <= set(supernet)
    for method, structure in supernet.items():
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


@pytest.fixture
def small_budgets(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("small_budgets")


def test_a_learning_rate_is_extended_until_the_best_is_inside(small_budgets: Any) -> None:
    assert small_budgets._beyond({1e-2: 0.5, 3e-2: 0.4, 1e-1: 0.6}) == []
    assert small_budgets._beyond({1e-2: 0.5, 3e-2: 0.4, 1e-1: 0.3}) == [3e-1]
    assert small_budgets._beyond({1e-2: 0.2, 3e-2: 0.4, 1e-1: float("inf")}) == [3e-3]
    assert small_budgets._beyond({3e-1: 0.5, 1.0: 0.3}) == []  # the end of the grid


@pytest.mark.parametrize("budget", [16, 144, 1000])
def test_rivals_have_the_size_of_the_budget(small_budgets: Any, backbone: PreTrainedModel, budget: int) -> None:
    sites = find_sites(backbone)
    sizes = {m: small_budgets.made(m, budget, 0, sites).params for m in ("random entries", "even cores", "even LoRA")}
    assert sizes == {"random entries": budget, "even cores": budget, "even LoRA": 768 if budget >= 768 else 0}
    assert small_budgets.made("random entries", budget, 1, sites) != small_budgets.made(
        "random entries", budget, 0, sites
    )
    assert small_budgets.made("full", None, 0, sites) is None


@pytest.mark.parametrize("budget", [16, 144, 1000])
@pytest.mark.parametrize("method", ["LoRA-XS", "TinyLoRA", "Uni-LoRA", "FourierFT"])
def test_published_methods_are_as_large_as_the_budget_lets_them(
    small_budgets: Any, backbone: PreTrainedModel, method: str, budget: int
) -> None:
    result = small_budgets.published(method, budget, find_sites(backbone))
    if budget == 16 and method != "Uni-LoRA":  # not one number for each of 36 projections
        assert result is None
        return
    job = small_budgets.Entry(method, 0, budget, baseline=result).job(0.01)
    applied = apply_job(job, backbone)
    try:
        assert budget - 36 * (11 if method == "LoRA-XS" else 1) < applied.params <= budget
    finally:
        applied.undo()


def rows_of_budgets() -> pd.DataFrame:
    """Two tasks, three seeds, two budgets: SLAT ahead by 0.02 and 0.04 at 16 and level at 36."""
    rows = []
    for task, gain in (("a", 0.02), ("b", 0.04)):
        for seed in range(3):
            for budget in (16, 36):
                own = 0.8 + 0.01 * seed
                ahead = gain if budget == 16 else 0.0
                for method, test in (("SLAT", own + ahead), ("even cores", own)):
                    row = {"task": task, "seed": seed, "budget": budget, "method": method, "test": test}
                    rows.append({**row, "params": budget, "bytes": 4 * budget})
            rows.append({"task": task, "seed": seed, "method": "LoRA r=8", "test": 0.83, "params": 900, "bytes": 3600})
    return pd.DataFrame(rows)


def test_differences_resample_tasks_and_then_seeds(small_budgets: Any) -> None:
    paired = importlib.import_module("paired")
    result = paired.against(rows_of_budgets(), "SLAT", ["even cores", "not there"]).set_index("budget")
    assert result["difference"].to_dict() == pytest.approx({16: 0.03, 36: 0.0}, abs=1e-12)
    assert (result.loc[16, "low"], result.loc[16, "high"]) == pytest.approx((0.02, 0.04))  # one task or the other alone
    assert result["pairs"].tolist() == [6, 6]
    assert result.loc[16, "p"] == pytest.approx(2 * 2 / 2**6)  # exact, times two budgets
    assert result.loc[36, "p"] == 1


def test_what_is_needed_for_a_share_of_lora(small_budgets: Any) -> None:
    paired = importlib.import_module("paired")
    lines = [line for line in paired.reaches(rows_of_budgets()).splitlines() if line.startswith("| b ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells == [
        ["b", "LoRA r=8", "SLAT", "16", "64"],
        ["b", "LoRA r=8", "even cores", "not reached", "-"],
        ["b", "LoRA r=8", "LoRA r=8", "900", "3,600"],
    ]
