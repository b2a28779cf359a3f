"""Is the search any good? Found structures against random and evenly spread ones of the same size.

    python experiments/benchmarks/equal_params.py --out OUT [--data FOLDER] [--tasks sst2 trec] [--budgets 1000 4000]

FOLDER holds a folder a task with train, validation and test parquet files; without it tasks are those that
``slat tasks`` lists. At each task and budget train, for the same number of steps in all:

* ``SLAT``: one search whose own weights are the result; nothing is trained again.
* ``random``: structures drawn from the same supernet.
* ``uniform LoRA``: spread evenly over all projections; ``BitFit`` and ``Houlsby`` where they come in that size.

Beside them, with twice the steps: ``SLAT, refitted`` trains what a search found, here or in ``--earlier`` results,
again from fresh weights, and ``uniform LoRA, 2x steps`` is what LoRA makes of as many. All are tuned on the validation
loss (it tells more apart than accuracy on some hundred texts), the mean of the first two seeds or draws at each budget,
and from as many values: for fixed structures the learning rate, for a search the kinds that are candidates. OUT keeps
every training, in a folder for each configuration, so that a benchmark that was stopped goes on; it gets
``results.json`` (rows, configuration, versions), ``equal_params.md`` (tables) and ``equal_params.png``. With
``--earlier`` the rows of other tasks, budgets and methods, made on another day or machine in the same way, stand in
them too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from slat_search.search.runtime import ray_session  # first: sets Ray's environment

import numpy as np  # isort: skip
from contestants import (
    METHODS,
    REFITTED,
    SEARCH_RATE,
    SEARCHES,
    TWICE,
    USUAL,
    VARIANTS,
    Entry,
    Setting,
    fixed,
    places,
    rates,
    refits,
)
from local import kept_in, task_in
from paired import differences, loss_ratios, paired, plot, qualities
from parts import rows_of, together

from slat_search.cli.terminal import messages
from slat_search.comparison.job_runner import JobRunner
from slat_search.config import Config
from slat_search.config.task import EMBEDDED
from slat_search.files import write_json, write_text
from slat_search.provenance import environment
from slat_search.records import Trained, TrainingJob
from slat_search.structure import Structure, find_sites
from slat_search.tasks import TaskData
from slat_search.training.context import Context, prepare
from slat_search.training.trial import space

TUNED_ON = 2  # seeds, or draws
#: atoms of hundreds of parameters; those of one have a benchmark of their own, small_budgets.py
KINDS = {
    "lora": {"size": 4},
    "parallel": {"size": 4, "group": 2},
    "serial": {"size": 4, "group": 2},
    "norm": {"size": 1},
    "bias": {"size": 1},
}

Run = tuple[Entry, TrainingJob, Trained]


def configuration(options: argparse.Namespace, task: str) -> Config:
    return Config.model_validate(
        {
            "name": task,
            "task": task_in(options.data, task),
            "model": {"precision": options.precision},
            "training": {"steps": options.steps},
            "space": {"kinds": KINDS},
            "search": {"space": {"kinds": ["all", "lora+parallel+serial", "lora"]}},
            "evaluation": {"ratios": [0]},
            "resources": {"trials_per_gpu": options.per_gpu},
        }
    )


class Bench:
    """Trains and tests entries of one task under one variant of its configuration; ``folder`` keeps every training."""

    def __init__(self, context: Context, folder: Path, gates: dict[str, Any] | None = None, longer: int = 1):
        config = context.config.model_dump(mode="json")
        config["gates"] |= gates or {}
        config["training"]["steps"] *= longer
        self.context = replace(context, config=Config.model_validate(config))
        work = kept_in(folder, self.context.config)
        self.pool = JobRunner(self.context, work)

    def run(self, entries: Sequence[Entry]) -> list[Run]:
        """Tune each method at each budget on its first entries, train the others with it; in order of entries."""
        first: dict[tuple[str, int], list[Entry]] = {}
        for entry in entries:
            first.setdefault(entry.tuned_with, []).append(entry)
        first = {key: result[:TUNED_ON] for key, result in first.items()}
        settings = partial(Entry.settings, kind_sets=self.context.config.kind_sets)
        tried = [entry for result in first.values() for entry in result]
        tuning = self.pool.train_successful([entry.job(setting) for entry in tried for setting in settings(entry)])

        def loss(result: Sequence[Entry], setting: Setting) -> float:
            keys = [entry.job(setting).key for entry in result]
            return float(np.mean([tuning[key].validation.loss if key in tuning else np.inf for key in keys]))

        best = {key: min(settings(result[0]), key=partial(loss, result)) for key, result in first.items()}
        chosen = [(entry, entry.job(best[entry.tuned_with])) for entry in entries]
        return self.train(chosen)

    def train(self, chosen: Sequence[tuple[Entry, TrainingJob]]) -> list[Run]:
        trained = self.pool.train_successful([job for _, job in chosen])
        return [(entry, job, trained[job.key]) for entry, job in chosen if job.key in trained]

    def rows(self, trained: Sequence[Run]) -> list[dict[str, Any]]:
        """Test each once."""
        structures = [e.structure or Structure.from_dict(result.structure) for e, _, result in trained]
        tested = self.pool.evaluate([job for _, job, _ in trained])
        return [
            {
                "task": self.context.config.task.name,
                "method": entry.method,
                "budget": entry.budget,
                "seed": entry.seed,
                "draw": entry.draw,
                "params": structure.params,
                "learning_rate": job.learning_rate,
                "kinds": job.options.get("kinds", ""),
                "validation": result.validation.quality,
                "validation_loss": result.validation.loss,
                "test": tested[job.key].quality,
                "seconds": result.seconds,
                "structure": structure.digest,
                "described": structure.describe(),
                **({"modules": places(structure)} if entry.structure is None else {}),
            }
            for (entry, job, result), structure in zip(trained, structures, strict=True)
        ]


def run_task(context: Context, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Rows of one task: method x budget x seed (x draw)."""
    sites = find_sites(context.backbone().model)
    supernet = space(context.config).supernet(sites)
    budgets, seeds, wanted = options.budgets, options.seeds, set(options.methods)
    bench = Bench(context, folder / "units")
    entries = [entry for budget in budgets for entry in fixed(sites, supernet, budget, seeds, options.draws)]
    trained = bench.run([entry for entry in entries if entry.method in wanted])
    rows = bench.rows(trained)
    if TWICE in wanted:
        longer = Bench(context, folder / "units-2x", **VARIANTS[TWICE])
        even = [(replace(e, method=TWICE), job) for e, job, _ in trained if e.method == "uniform LoRA"]
        rows += longer.rows(longer.train(even))
    for method in SEARCHES:
        if method in wanted:
            kind = VARIANTS[method]["gates"]["kind"]
            searching = Bench(context, folder / f"units-{kind}", **VARIANTS[method])
            searched = searching.run([Entry(method, budget, seed) for budget in budgets for seed in range(seeds)])
            rows += searching.rows(searched)
    if REFITTED in wanted:
        result = rows if "SLAT" in wanted else [row for path in options.earlier for row in rows_of(path)]
        mine = [row for row in result if row["task"] == context.config.task.name and row["budget"] in budgets]
        again = [*refits(mine, supernet)]
        if not again:
            raise SystemExit(f"{REFITTED}: neither --methods SLAT nor --earlier says what was found for this task")
        rows += bench.rows(bench.run(again))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="a folder of tasks; tasks that are known by name unless told otherwise"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", help="sick trec sst2 cola of --data, or else the embedded ones")
    parser.add_argument("--budgets", nargs="+", type=int, default=[1000, 4000, 16_000, 64_000, 256_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=5, help="random structures a budget")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=USUAL, help="none: write earlier rows anew")
    parser.add_argument("--per-gpu", type=int, help="trainings that share a GPU; one unless told otherwise")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--earlier", nargs="+", type=Path, default=[], help="results.json of other parts, to be added")
    options = parser.parse_args()
    options.tasks = options.tasks or (["sick", "trec", "sst2", "cola"] if options.data else [*EMBEDDED])
    prepared = {task: prepare(configuration(options, task)) for task in options.tasks}
    unnamed = ("data", "out", "per_gpu", "earlier")
    made = {
        "options": {key: value for key, value in vars(options).items() if key not in unnamed},
        "tuned_on": TUNED_ON,
        "search_rate": SEARCH_RATE,
        "variants": VARIANTS,
        "rates": {str(budget): list(rates(budget)) for budget in options.budgets},
        "made_by": {task: made_by(context, data[0], options.data) for task, (context, data) in prepared.items()},
        "rows": [],
    }
    together(made, options.earlier)  # what does not fit says so before hours are spent
    with messages(), ray_session():
        for task, (context, _) in prepared.items():
            made["rows"] += run_task(context, options, options.out / "work" / task)
    write(together(made, options.earlier), options.out)


def made_by(context: Context, data: TaskData, folder: Path | None) -> dict[str, Any]:
    """Configuration and versions, without the path of the data."""
    config = context.config.model_dump(mode="json", exclude={"task": {"train"}})
    where = {"data": f"DATA/{data.name}"} if folder else {}
    return {"config": {**config, **where}, "environment": environment(context, [data]).to_dict()}


def write(results: dict[str, Any], out: Path) -> None:
    """Rows with what they come to: ``results.json``, the tables and the figure."""
    frame = pd.DataFrame(results["rows"])
    pairs = [(method, rival) for method in ("SLAT", REFITTED) for rival in METHODS if rival != method]
    against = pd.concat([paired(frame, method, rival) for method, rival in pairs])
    write_json(out / "results.json", {**results, "paired": json.loads(against.to_json(orient="records"))})
    methods = [method for method in METHODS if method in set(frame["method"])]
    longer = [method for method in methods if method in (REFITTED, TWICE)]
    tables = qualities(frame, [method for method in methods if method not in longer], longer)
    for method in [] if against.empty else against["method"].unique():
        tables += "\n" + differences(against, method, methods)
    if "SLAT" in methods:
        alike = [method for method in methods if method not in ("SLAT", *longer)]
        tables += "\n" + loss_ratios(frame, "SLAT", alike)
    write_text(out / "equal_params.md", tables)
    plot(frame, methods, out / "equal_params.png")
    print(tables)


if __name__ == "__main__":
    main()
