"""Is the search any good? Found structures against random and evenly spread ones of the same size.

    python experiments/benchmarks/equal_params.py --data FOLDER --out OUT [--tasks sst2 trec] [--budgets 1000 4000]

FOLDER holds a folder a task with train, validation and test parquet files. At each task and budget train, for the same
number of steps in all:

* ``SLAT``: one search whose own weights are the result; nothing is trained again.
* ``random``: structures drawn from the same supernet.
* ``uniform LoRA``: spread evenly over all projections; ``BitFit`` and ``Houlsby`` where they come in that size.

Beside them, with twice the steps: ``SLAT, refitted`` trains what a search found again from fresh weights, and ``uniform
LoRA, 2x steps`` is what LoRA makes of as many. All are tuned on the validation loss (it tells more apart than accuracy
on some hundred texts), the mean of the first two seeds or draws at each budget, and from as many values: for fixed
structures the learning rate, for a search the kinds that are candidates. OUT keeps every training, in a folder for each
configuration, so that a benchmark that was stopped goes on; it gets ``results.json`` (rows, configuration, versions),
``equal_params.md`` (two tables) and ``equal_params.png``. With ``--earlier`` the rows of other tasks, budgets and
methods, made on another day or machine in the same way, stand in them too.
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

from slat_search.tuning.runtime import ray_session  # first: sets Ray's environment

import numpy as np  # isort: skip
from local import kept_in, task_in
from paired import differences, paired, plot, qualities
from parts import together

from slat_search.config import ALL_KINDS, Config
from slat_search.provenance import environment
from slat_search.run_folder import write_json, write_text
from slat_search.structure import Site, Structure, find_sites
from slat_search.training.context import Context, prepare
from slat_search.training.trial import space
from slat_search.training.units import Unit
from slat_search.tuning.fixed import UnitPool

SALIENCY = {"kind": "saliency", "growth": 0.35, "warmup": 0.1, "settle": 0.7, "shrink_every": 0.02}
TUNED_ON = 2  # seeds, or draws
SEARCH_RATE = 2e-3  # of the whole supernet; it grows as that shrinks
#: method -> what its runs have other than the rest; searches first, then what is trained with twice the steps
VARIANTS: dict[str, dict[str, Any]] = {
    "SLAT": {"gates": SALIENCY},
    "SLAT, sigmoid gates": {"gates": {**SALIENCY, "kind": "sigmoid"}},
    "SLAT, hard-concrete gates": {"gates": {**SALIENCY, "kind": "hard_concrete"}},
    "uniform LoRA, 2x steps": {"longer": 2},
}
REFITTED, TWICE = "SLAT, refitted", "uniform LoRA, 2x steps"
SEARCHES = tuple(VARIANTS)[:-1]
METHODS = (*SEARCHES, REFITTED, "random", "uniform LoRA", TWICE, "BitFit", "Houlsby")
USUAL = tuple(method for method in METHODS if "gates" not in method)


def rates(budget: int) -> tuple[float, ...]:
    """Learning rates to choose from for a fixed structure; small ones take larger steps."""
    return (3e-3, 1e-2, 3e-2) if budget < 8_000 else (1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Setting:
    """What is tuned."""

    learning_rate: float
    kinds: str = ALL_KINDS


Trained = tuple["Entry", Unit, dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One training of one method at one budget, with a setting to be chosen.

    Attributes:
        draw: number of a random structure.
        structure: what is trained; None for a search, which finds it.
    """

    method: str
    budget: int
    seed: int
    structure: Structure | None = None
    draw: int = 0

    def settings(self, kind_sets: Sequence[str]) -> list[Setting]:
        """Values to choose from."""
        if self.structure is None:
            return [Setting(SEARCH_RATE, kinds) for kinds in kind_sets]
        return [Setting(rate) for rate in rates(self.budget)]

    @property
    def tuned_with(self) -> tuple[str, int]:
        """What shares a setting: the seeds of a method, the draws of random structures."""
        return self.method, self.budget

    def unit(self, setting: Setting) -> Unit:
        rate = setting.learning_rate
        if self.structure is None:
            options = {"budget": self.budget, "kinds": setting.kinds}
            return Unit("search", f"search-{self.budget}-{setting.kinds}", rate, self.seed, options=options)
        name = f"fixed-{self.budget}-{self.structure.digest[:8]}"
        return Unit("slat", name, rate, self.seed, options={"structure": self.structure.to_dict()})


def configuration(options: argparse.Namespace, task: str) -> Config:
    return Config.model_validate(
        {
            "name": task,
            "task": task_in(options.data, task),
            "model": {"precision": options.precision},
            "training": {"steps": options.steps},
            "evaluation": {"ratios": [0]},
            "resources": {"trials_per_gpu": options.per_gpu},
        }
    )


def fixed(sites: Sequence[Site], supernet: Structure, budget: int, seeds: int, draws: int) -> Iterator[Entry]:
    """Structures that no search made."""
    for draw in range(draws):
        yield Entry("random", budget, draw % seeds, supernet.random_part(budget, seed=1000 + draw), draw)
    width = budget // max(1, Structure.houlsby(sites, 1).params)
    made = {
        "uniform LoRA": Structure.uniform(sites, budget, "lora", scale=2.0),
        "BitFit": Structure.bitfit(sites),
        "Houlsby": Structure.houlsby(sites, max(1, width)),
    }
    for method, structure in made.items():
        # LoRA fills any budget as far as whole ranks allow: at 1,000 parameters one rank of 768
        if method == "uniform LoRA" or 0.8 * budget <= structure.params <= 1.05 * budget:
            for seed in range(seeds):
                yield Entry(method, budget, seed, structure)


class Bench:
    """Trains and tests entries of one task under one variant of its configuration; ``folder`` keeps every training."""

    def __init__(self, context: Context, folder: Path, gates: dict[str, Any] | None = None, longer: int = 1):
        config = context.config.model_dump(mode="json")
        config["gates"] |= gates or {}
        config["training"]["steps"] *= longer
        self.context = replace(context, config=Config.model_validate(config))
        work = kept_in(folder, self.context.config)
        self.pool = UnitPool(self.context.config, self.context, work, partial(print, flush=True))

    def run(self, entries: Sequence[Entry]) -> list[Trained]:
        """Tune each method at each budget on its first entries, train the others with it; in order of entries."""
        first: dict[tuple[str, int], list[Entry]] = {}
        for entry in entries:
            first.setdefault(entry.tuned_with, []).append(entry)
        first = {key: found[:TUNED_ON] for key, found in first.items()}
        settings = partial(Entry.settings, kind_sets=self.context.config.kind_sets)
        tried = [entry for found in first.values() for entry in found]
        tuning = self.pool.train([entry.unit(setting) for entry in tried for setting in settings(entry)])

        def loss(found: Sequence[Entry], setting: Setting) -> float:
            results = [tuning[entry.unit(setting).key] for entry in found]
            return float(np.mean([np.inf if "error" in result else result["validation"]["loss"] for result in results]))

        best = {key: min(settings(found[0]), key=partial(loss, found)) for key, found in first.items()}
        chosen = [(entry, entry.unit(best[entry.tuned_with])) for entry in entries]
        return self.train(chosen)

    def train(self, chosen: Sequence[tuple[Entry, Unit]]) -> list[Trained]:
        trained = self.pool.train([unit for _, unit in chosen])
        return [(entry, unit, trained[unit.key]) for entry, unit in chosen if "error" not in trained[unit.key]]

    def rows(self, trained: Sequence[Trained]) -> list[dict[str, Any]]:
        """Test each once."""
        structures = [e.structure or Structure.from_dict(result["structure"]) for e, _, result in trained]
        tested = self.pool.evaluate([unit for _, unit, _ in trained])
        return [
            {
                "task": self.context.config.task.name,
                "method": entry.method,
                "budget": entry.budget,
                "seed": entry.seed,
                "draw": entry.draw,
                "params": structure.params,
                "learning_rate": unit.learning_rate,
                "kinds": unit.options.get("kinds", ""),
                "validation": result["validation"]["quality"],
                "validation_loss": result["validation"]["loss"],
                "test": tested[unit.key]["quality"],
                "seconds": result["seconds"],
                "structure": structure.digest,
                "described": structure.describe(),
            }
            for (entry, unit, result), structure in zip(trained, structures, strict=True)
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
        again = [(replace(e, method=TWICE), unit) for e, unit, _ in trained if e.method == "uniform LoRA"]
        rows += longer.rows(longer.train(again))
    for method in SEARCHES:
        if method not in wanted:
            continue
        kind = VARIANTS[method]["gates"]["kind"]
        searching = Bench(context, folder / f"units-{kind}", **VARIANTS[method])
        searched = searching.run([Entry(method, budget, seed) for budget in budgets for seed in range(seeds)])
        rows += searching.rows(searched)
        if method == "SLAT" and REFITTED in wanted:
            found = [
                replace(entry, method=REFITTED, structure=Structure.from_dict(result["structure"]))
                for entry, _, result in searched
            ]
            rows += bench.rows(bench.run(found))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "trec", "sick", "cola"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[1000, 4000, 16_000, 64_000, 256_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=5, help="random structures a budget")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=USUAL)
    parser.add_argument("--per-gpu", type=int, help="trainings that share a GPU; one unless told otherwise")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--earlier", nargs="+", type=Path, default=[], help="results.json of other parts, to be added")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    made_by: dict[str, Any] = {}
    with ray_session():
        for task in options.tasks:
            context, data = prepare(configuration(options, task))
            made_by[task] = {
                "config": {
                    **context.config.model_dump(mode="json", exclude={"task": {"train"}}),
                    "data": f"DATA/{task}",
                },
                "environment": environment(context, [data]),
            }
            rows += run_task(context, options, options.out / "work" / task)
    unnamed = ("data", "out", "per_gpu", "earlier")
    made = {
        "options": {key: value for key, value in vars(options).items() if key not in unnamed},
        "tuned_on": TUNED_ON,
        "search_rate": SEARCH_RATE,
        "variants": VARIANTS,
        "rates": {str(budget): list(rates(budget)) for budget in options.budgets},
        "made_by": made_by,
        "rows": rows,
    }
    write(together(made, options.earlier), options.out)


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
    write_text(out / "equal_params.md", tables)
    plot(frame, out / "equal_params.png")
    print(tables)


if __name__ == "__main__":
    main()
