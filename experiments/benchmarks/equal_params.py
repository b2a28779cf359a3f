"""Is the search any good? Found structures against random and evenly spread ones of the same size.

    python experiments/benchmarks/equal_params.py --data FOLDER --out OUT [--tasks sst2 trec] [--budgets 1000 4000]

FOLDER holds a folder a task with train, validation and test parquet files. For each task, budget and seed one search
holds the budget; what it finds is trained again from fresh weights beside random structures of the same supernet and
size, LoRA spread evenly, and BitFit or Houlsby adapters where they come in that size. All train for the same steps; the
learning rate of each method is tuned on validation with the first seed. OUT keeps every training, so that a benchmark
that was stopped goes on; it writes ``results.json`` (rows, configuration, versions) and ``equal_params.png``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from slat_search.tuning.runtime import ray_session  # first: sets Ray's environment

import ray  # isort: skip
import matplotlib
import numpy as np
import torch

from slat_search.config import Config
from slat_search.provenance import environment
from slat_search.run_folder import append_line, read_lines, write_json
from slat_search.structure import Site, Structure, find_sites
from slat_search.training.context import Context, prepare
from slat_search.training.units import Unit, search_trial, space
from slat_search.tuning.fixed import UnitPool

matplotlib.use("Agg")
import matplotlib.pyplot as plt

METRICS = {"cola": "matthews", "mrpc": "f1"}
LEARNING_RATES = (1e-3, 3e-3, 1e-2)
SEARCH = {"gate_learning_rate": 0.1, "learning_rate": 3e-3, "noise_kind": "none", "noise_ratio": 0.0}


@dataclass(frozen=True)
class Entry:
    """One structure of one method at one budget, trained with one seed."""

    method: str
    budget: int
    seed: int
    draw: int
    structure: Structure

    def unit(self, rate: float) -> Unit:
        label = f"{self.method}-{self.budget}-{self.structure.digest[:8]}"
        return Unit("slat", label, rate, self.seed, options={"structure": self.structure.to_dict()})


def configuration(data: Path, task: str, steps: int) -> Config:
    columns = pq.read_schema(data / task / "train.parquet").names
    text = ["text"] if "text" in columns else ["text_a", "text_b"]
    fields = {"name": task, "train": str(data / task), "text": text, "metric": METRICS.get(task, "accuracy")}
    return Config.model_validate({"name": task, "task": {**fields, "max_length": 64}, "training": {"steps": steps}})


@ray.remote(num_cpus=1)
def search(context: Context, budget: int, seed: int) -> dict[str, Any]:
    """The structure that a search with a held budget ends at, and what the search cost."""
    torch.set_num_threads(1)
    seeded = replace(context, config=context.config.model_copy(update={"seed": seed}))
    *_, last = search_trial(seeded, {**SEARCH, "budget": budget}, [])
    return {"budget": budget, "seed": seed, "structure": last["structure"].to_dict(), "seconds": last["seconds"]}


def found(context: Context, budgets: Sequence[int], seeds: int, record: Path) -> list[dict[str, Any]]:
    """All searches of a task; those in ``record`` are not run again."""
    known = read_lines(record)
    there = {(row["budget"], row["seed"]) for row in known}
    shared = ray.put(context)
    waiting = [search.remote(shared, b, s) for b in budgets for s in range(seeds) if (b, s) not in there]
    while waiting:
        (ready, *_), waiting = ray.wait(waiting)
        known.append(ray.get(ready))
        append_line(record, known[-1])
        print(f"search  budget {known[-1]['budget']:>7,}  seed {known[-1]['seed']}", flush=True)
    return known


def entries(
    sites: Sequence[Site], supernet: Structure, searches: list[dict[str, Any]], budget: int, seeds: int, draws: int
) -> Iterator[Entry]:
    """Everything that is compared at one budget."""
    for row in searches:
        if row["budget"] == budget:
            yield Entry("found", budget, row["seed"], 0, Structure.from_dict(row["structure"]))
    for draw in range(draws):
        yield Entry("random", budget, draw % seeds, draw, supernet.random_part(budget, seed=1000 + draw))
    width = budget // max(1, Structure.houlsby(sites, 1).params)
    fixed = {
        "uniform LoRA": Structure.uniform(sites, budget, "lora", scale=2.0),
        "BitFit": Structure.bitfit(sites),
        "Houlsby": Structure.houlsby(sites, max(1, width)),
    }
    for method, structure in fixed.items():
        if 0.8 * budget <= structure.params <= 1.05 * budget:
            for seed in range(seeds):
                yield Entry(method, budget, seed, 0, structure)


def run_task(context: Context, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Rows of one task: method x budget x seed (x draw)."""
    backbone = context.backbone().model
    sites = find_sites(backbone)
    supernet = space(context.config).supernet(sites)
    searches = found(context, options.budgets, options.seeds, folder / "searches.jsonl")
    pool = UnitPool(context.config, context, folder / "units", partial(print, flush=True))
    compared = [
        entry
        for budget in options.budgets
        for entry in entries(sites, supernet, searches, budget, options.seeds, options.draws)
    ]
    first: dict[tuple[str, int], Entry] = {}
    for entry in compared:
        first.setdefault((entry.method, entry.budget), entry)
    tuning = pool.train([entry.unit(rate) for entry in first.values() for rate in LEARNING_RATES])

    def validation(entry: Entry, rate: float) -> float:
        result = tuning[entry.unit(rate).key]
        return -np.inf if "error" in result else result["validation"]["quality"]

    rates = {key: max(LEARNING_RATES, key=partial(validation, entry)) for key, entry in first.items()}
    chosen = [(entry, entry.unit(rates[entry.method, entry.budget])) for entry in compared]
    trained = pool.train([unit for _, unit in chosen])
    chosen = [(entry, unit) for entry, unit in chosen if "error" not in trained[unit.key]]
    tested = pool.evaluate([unit for _, unit in chosen])
    return [
        {
            "task": context.config.task.name,
            "method": entry.method,
            "budget": entry.budget,
            "seed": entry.seed,
            "draw": entry.draw,
            "params": entry.structure.params,
            "learning_rate": unit.learning_rate,
            "validation": trained[unit.key]["validation"]["quality"],
            "test": tested[unit.key]["quality"],
            "structure": entry.structure.digest,
        }
        for entry, unit in chosen
    ]


def paired(rows: pd.DataFrame, rival: str, draws: int = 5000) -> pd.DataFrame:
    """Mean over tasks and seeds of found minus ``rival`` at each budget, with a 95 % bootstrap interval over pairs.

    A pair is a task and a seed; a rival with several draws of one seed counts with their mean.
    """
    table = rows.groupby(["budget", "task", "seed", "method"])["test"].mean().unstack()
    out = []
    for budget, part in table.groupby(level="budget"):
        difference = (part["found"] - part[rival]).dropna().to_numpy() if rival in part else np.array([])
        if len(difference):
            rng = np.random.default_rng(0)
            means = rng.choice(difference, (draws, len(difference))).mean(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            out.append({"budget": budget, "rival": rival, "difference": difference.mean(), "low": low, "high": high})
    return pd.DataFrame(out)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Test quality over budget, mean over tasks; bars are the standard error over tasks and seeds."""
    figure, axis = plt.subplots(figsize=(7, 4.5))
    for method, part in rows.groupby("method"):
        by_budget = part.groupby("budget")["test"]
        mean = by_budget.mean()
        axis.errorbar(mean.index, mean, yerr=by_budget.sem(), marker="o", capsize=3, label=method)
    axis.set_xscale("log")
    axis.set_xlabel("adapter parameters (budget)")
    axis.set_ylabel("test quality, mean over tasks")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "trec", "sick", "cola"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[1000, 4000, 16_000, 64_000, 256_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=5, help="random structures a budget")
    parser.add_argument("--steps", type=int, default=250)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    made_by: dict[str, Any] = {}
    with ray_session():
        for task in options.tasks:
            context, data = prepare(configuration(options.data, task, options.steps))
            made_by[task] = {
                "config": context.config.model_dump(mode="json"),
                "environment": environment(context, {name: len(split) for name, split in data.splits.items()}),
            }
            rows += run_task(context, options, options.out / "work" / task)
    frame = pd.DataFrame(rows)
    against = pd.concat([paired(frame, rival) for rival in ("random", "uniform LoRA", "BitFit", "Houlsby")])
    settings = {key: value for key, value in vars(options).items() if key not in ("data", "out")}
    write_json(
        options.out / "results.json",
        {
            "options": settings,
            "search": SEARCH,
            "learning_rates": LEARNING_RATES,
            "paired": json.loads(against.to_json(orient="records")),
            "rows": rows,
            "made_by": made_by,
        },
    )
    draw(frame, options.out / "equal_params.png")
    print(frame.pivot_table(index=["task", "budget"], columns="method", values="test").round(3).to_string())
    print(against.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
