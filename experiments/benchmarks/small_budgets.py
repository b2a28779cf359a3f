"""Does the search win where little is spent? Sizes from 16 to 64,000 parameters against hand-made methods.

    python experiments/benchmarks/small_budgets.py --out OUT [--data FOLDER] [--tasks trec sick] [--budgets 144 1000]

FOLDER holds a folder a task with train, validation and test parquet files; without it tasks are those that
``slat tasks`` lists. At each task and budget every method trains for the same number of steps:

* ``SLAT``: one search by screening whose own weights are the result; nothing is trained again. Below 2,000 parameters
  it chooses among entries of spectral cores, from there on among all kinds.
* ``random entries``: as many entries of spectral cores, drawn at random from the same candidates, another draw a seed.
* ``even cores``: as many, in square cores of the same size at every projection (LoRA-XS without singular values).
* ``even LoRA``: LoRA spread evenly over all projections, from one rank of the smallest projection on.
* ``LoRA-XS``, ``TinyLoRA``, ``Uni-LoRA``, ``FourierFT``: published methods of few trained numbers, on all projections,
  in the largest size that the budget holds; the last three through the peft library.

Once for each task stand methods that come in one size: LoRA r=1 and r=8 on queries and values, BitFit, LayerNorm, IA3,
the head alone, and full fine-tuning.

Protocol. All methods have the same steps, batches and head, which trains alone for the first tenth of the steps. The
learning rate is chosen by the validation loss, mean of the first two seeds, from three values, and where the best one
is at an edge the next value on that side is tried until it is inside; the rule is the same for all. The other seeds
train with that rate. Test is read once, clean and under typos and word drop. The main comparison is the paired
difference of clean test quality to SLAT at each budget, whose interval resamples tasks and then seeds, with Holm's
correction over budgets.

OUT keeps every training, so that a stopped benchmark goes on; it gets ``results.json`` (rows, configuration, versions),
``small_budgets.md`` and ``small_budgets.png``. ``--earlier`` adds the rows of parts made on another day or machine,
``--rates`` takes learning rates that were tuned there, and ``--test-rows`` draws a part of a large test set.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from slat_search.search.runtime import ray_session  # first: sets Ray's environment

import numpy as np  # isort: skip
from local import kept_in, part_of_test, task_in
from paired import against, differences_to, plot, reaches, table

from slat_search.baselines.places import projections
from slat_search.cli.terminal import messages
from slat_search.comparison.job_runner import JobRunner
from slat_search.config import Config
from slat_search.config.baselines import Baseline, MethodName
from slat_search.config.task import EMBEDDED
from slat_search.files import write_json, write_text
from slat_search.provenance import environment
from slat_search.records import Tested, Trained, TrainingJob
from slat_search.structure import Site, Structure, find_sites
from slat_search.training.context import Context, prepare

TUNED_ON = 2  # seeds
DIRECTIONS = 32  # leading ones that entries are drawn from
ALL_FROM = 2000  # parameters: below, a search chooses among entries alone, as nothing else is as cheap
GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
SIZED = ("SLAT", "random entries", "even cores", "even LoRA", "LoRA-XS", "TinyLoRA", "Uni-LoRA", "FourierFT")
#: methods in ``slat_search.baselines`` by their names here; how their size follows from the budget of one projection
#: and of all
PUBLISHED: dict[str, tuple[MethodName, Callable[[int, int], int]]] = {
    "LoRA-XS": ("lora_xs", lambda one, _: math.isqrt(one)),
    "TinyLoRA": ("tinylora", lambda one, _: one),
    "Uni-LoRA": ("unilora", lambda _, every: every),
    "FourierFT": ("fourierft", lambda one, _: one),
}
FIXED = ("head", "LayerNorm", "LoRA r=1", "IA3", "BitFit", "LoRA r=8", "full")
#: first of the three rates that are tried before any extension
_FIRST = {"full": 3e-5, "head": 3e-3, "LoRA r=8": 1e-3, "even LoRA": 3e-3, "LoRA-XS": 1e-3, "Uni-LoRA": 1e-1}
#: learning rates below are those of what was chosen, whatever its size
GATES = {"kind": "screening", "lr_growth": 0.0}
CANDIDATES = {
    "spectral": {"size": DIRECTIONS},
    "lora": {"size": 4},
    "parallel": {"size": 4, "group": 2},
    "serial": {"size": 4, "group": 2},
    "norm": {"size": 1},
    "bias": {"size": 1},
}


#: method and budget (None for methods of one size): what shares a learning rate
Group = tuple[str, int | None]


@dataclass(frozen=True)
class Entry:
    """One training of a method: at a budget, or at the method's own size."""

    method: str
    seed: int
    budget: int | None = None
    structure: Structure | None = None
    baseline: Baseline | None = None

    @property
    def group(self) -> Group:
        """What shares a learning rate: the seeds of a method at a budget."""
        return self.method, self.budget

    def job(self, rate: float) -> TrainingJob:
        if self.method == "SLAT" and self.budget is not None:
            options: dict[str, Any] = {"budget": self.budget, "kinds": "spectral" if self.budget < ALL_FROM else "all"}
            return TrainingJob("search", f"search-{self.budget}", rate, self.seed, options=options)
        if self.structure is not None:
            options = {"structure": self.structure.to_dict()}
            name = f"{self.method.replace(' ', '-')}-{self.budget or 'own'}-{self.structure.digest[:8]}"
            return TrainingJob("slat", name, rate, self.seed, options=options)
        if self.baseline is not None:
            return TrainingJob(
                self.baseline.method, self.baseline.label, rate, self.seed, options=self.baseline.options
            )
        return TrainingJob(self.method, self.method, rate, self.seed)


def published(method: str, budget: int, sites: Sequence[Site]) -> Baseline | None:
    """A published method in the largest size that the budget holds; None where it holds none."""
    name, size_of = PUBLISHED[method]
    size = size_of(budget // len(projections(sites, ("all",))), budget)
    return Baseline(method=name, size=size, roles=("all",)) if size else None


def made(method: str, budget: int | None, seed: int, sites: Sequence[Site]) -> Structure | None:
    """What a hand-made method is, empty where there is nothing of that size; None for what is no structure (a search,
    the head, full fine-tuning)."""
    if method == "random entries":
        return Structure.at(sites, "spectral", DIRECTIONS).random_part(budget or 0, seed=1000 + seed)
    if method == "even cores":
        return Structure.uniform(sites, budget or 0, "spectral", scale=2.0)
    if method == "even LoRA":
        return Structure.uniform(sites, budget or 0, "lora", scale=2.0)
    whole = {
        "LoRA r=1": partial(Structure.lora, r=1, alpha=2),
        "LoRA r=8": partial(Structure.lora, r=8),
        "BitFit": Structure.bitfit,
        "LayerNorm": partial(Structure.at, kind="norm", size=1),
        "IA3": Structure.ia3,
    }
    return whole[method](sites) if method in whole else None


def entries(sites: Sequence[Site], options: argparse.Namespace) -> list[Entry]:
    """All trainings that are asked for, first those of the smallest budgets."""
    collected = []
    for budget in options.budgets:
        for method in (m for m in SIZED if m in options.methods):
            if method in PUBLISHED:
                baseline = published(method, budget, sites)
                seeds = range(options.seeds if baseline else 0)
                collected += [Entry(method, seed, budget, baseline=baseline) for seed in seeds]
                continue
            for seed in range(options.seeds):
                structure = made(method, budget, seed, sites)
                if structure is None or structure.modules:
                    collected.append(Entry(method, seed, budget, structure))
    for method in (m for m in FIXED if m in options.methods):
        collected += [Entry(method, seed, None, made(method, None, seed, sites)) for seed in range(options.seeds)]
    return collected


class Bench:
    """Tunes, trains and tests the entries of one task; ``folder`` keeps every training."""

    def __init__(self, context: Context, folder: Path, rates: Mapping[Group, float]):
        self.context, self.rates = context, rates
        self.pool = JobRunner(context, kept_in(folder, context.config))

    def tuned(self, found: Sequence[Entry]) -> dict[Group, float]:
        """The learning rate of each group: a known one, or by the mean validation loss of its first seeds."""
        firsts: dict[Group, list[Entry]] = {}
        for entry in found:
            if entry.group not in self.rates:
                firsts.setdefault(entry.group, []).append(entry)
        losses: dict[Group, dict[float, float]] = {group: {} for group in firsts}
        wanted = {group: list(_start(group[0])) for group in firsts}
        while any(wanted.values()):
            jobs = {(g, rate): [e.job(rate) for e in firsts[g][:TUNED_ON]] for g in wanted for rate in wanted[g]}
            results = self.pool.train_successful([job for trained in jobs.values() for job in trained])
            for (group, rate), trained in jobs.items():
                losses[group][rate] = float(np.mean([_loss(results.get(job.key)) for job in trained]))
            wanted = {group: _beyond(tried) for group, tried in losses.items()}
        return {**self.rates, **{group: min(tried, key=tried.__getitem__) for group, tried in losses.items()}}

    def rows(self, found: Sequence[Entry]) -> list[dict[str, Any]]:
        rates = self.tuned(found)
        jobs = [(entry, entry.job(rates[entry.group])) for entry in found]
        trained = self.pool.train_successful([job for _, job in jobs])
        good = [(entry, job) for entry, job in jobs if job.key in trained]
        tested = self.pool.evaluate([job for _, job in good])
        return [self._row(entry, job, trained[job.key], tested[job.key]) for entry, job in good]

    def _row(self, entry: Entry, job: TrainingJob, result: Trained, tested: Tested) -> dict[str, Any]:
        raw = result.structure or (entry.structure and entry.structure.to_dict())
        structure = Structure.from_dict(raw) if raw else None
        return {
            "task": self.context.config.task.name,
            "method": entry.method,
            "budget": entry.budget,
            "seed": entry.seed,
            "params": result.params,
            "bytes": result.bytes,
            "learning_rate": job.learning_rate,
            "validation": result.validation.quality,
            "validation_loss": result.validation.loss,
            "test": tested.quality,
            "perturbed": {f"{p.kind} {p.ratio:g}": p.quality for p in tested.by_number[0].perturbed},
            "seconds": result.seconds,
            "structure": structure.digest if structure else "",
            "by_role": structure.params_by("role") if structure else {},
            "by_layer": structure.params_by("layer") if structure else {},
            "by_kind": structure.params_by("kind") if structure else {},
        }


def _start(method: str) -> tuple[float, ...]:
    first = GRID.index(_FIRST.get(method, 1e-2))
    return GRID[first : first + 3]


def _beyond(losses: Mapping[float, float]) -> list[float]:
    """The next rate on the side where the best of those tried is the last one; none where it is inside."""
    best = min(losses, key=losses.__getitem__)
    place = GRID.index(best)
    if best == max(losses) and place + 1 < len(GRID):
        return [GRID[place + 1]]
    if best == min(losses) and place > 0:
        return [GRID[place - 1]]
    return []


def known_rate(text: str) -> tuple[Group, float]:
    """Return group and learning rate of ``METHOD@BUDGET=RATE``, or ``METHOD=RATE`` of a method of one size."""
    group, _, rate = text.rpartition("=")
    method, _, budget = group.partition("@")
    if method not in (*SIZED, *FIXED) or (method in SIZED) != bool(budget) or float(rate) not in GRID:
        raise argparse.ArgumentTypeError(f"{text!r} is no METHOD@BUDGET=RATE with one of {', '.join(map(str, GRID))}")
    return (method, int(budget) if budget else None), float(rate)


def _loss(result: Trained | None) -> float:
    return float("inf") if result is None else result.validation.loss


def configuration(options: argparse.Namespace, task: str) -> Config:
    read = task_in(None if task in EMBEDDED else options.data, task)
    if options.test_rows is not None:
        read |= part_of_test(options.data / task, options.test_rows, options.out / "work" / task)
    return Config.model_validate(
        {
            "name": task,
            "task": read,
            "model": {"precision": options.precision},
            "training": {"steps": options.steps, "head_first": options.head_first},
            "gates": GATES,
            "space": {"kinds": CANDIDATES},
            "evaluation": {"ratios": [0.1, 0.2]},
            "resources": {"trials_per_gpu": options.per_gpu},
        }
    )


def write(results: dict[str, Any], out: Path) -> None:
    """Rows with what they come to: ``results.json``, the tables and the figure."""
    frame = pd.DataFrame(results["rows"])
    compared = against(frame, "SLAT", SIZED[1:])
    write_json(out / "results.json", {**results, "against": json.loads(compared.to_json(orient="records"))})
    text = "\n".join([table(frame, [*SIZED, *FIXED]), differences_to("SLAT", compared), reaches(frame)])
    write_text(out / "small_budgets.md", text)
    sized = frame.assign(budget=frame["budget"].fillna(frame["params"]))
    plot(sized, SIZED, out / "small_budgets.png", references=("head", "LoRA r=8", "full"))
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of tasks; the embedded ones unless told otherwise")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", help="folders of --data, or embedded tasks by name")
    parser.add_argument("--budgets", nargs="*", type=int, default=[16, 36, 144, 512, 1000, 2000, 4000, 16_000, 64_000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--methods", nargs="*", choices=[*SIZED, *FIXED], default=[*SIZED, *FIXED])
    parser.add_argument("--head-first", type=float, default=0.1, help="share of steps for the head alone, not of SLAT")
    parser.add_argument("--rates", nargs="*", type=known_rate, default=[], help="METHOD@BUDGET=RATE, tuned earlier")
    parser.add_argument("--test-rows", type=int, help="rows drawn from the test set; all unless told otherwise")
    parser.add_argument("--per-gpu", type=int, help="trainings that share a GPU; one unless told otherwise")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--earlier", nargs="+", type=Path, default=[], help="results.json of other parts, to be added")
    options = parser.parse_args()
    if options.test_rows is not None and options.data is None:
        parser.error("--test-rows needs --data")
    options.tasks = options.tasks or (
        ["sick", "sst2", "trec", "mrpc", "subj", "bbc-match"] if options.data else [*EMBEDDED]
    )
    prepared = {task: prepare(configuration(options, task)) for task in options.tasks}
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in options.earlier]
    for path, part in zip(options.earlier, parts, strict=True):
        for name in ("steps", "precision", "head_first"):
            there = part["options"].get(name, 0.0)  # before, no head trained first
            if there != getattr(options, name):
                raise SystemExit(f"{path} was made in another way: {name} is {there!r} there")
    results: dict[str, Any] = {
        "options": {k: v for k, v in vars(options).items() if k not in ("data", "out", "per_gpu", "earlier")},
        "tuned_on": TUNED_ON,
        "grid": GRID,
        "made_by": {},
        "earlier": [],
        "rows": [],
    }
    for task, (context, data) in prepared.items():
        config = context.config.model_dump(mode="json", exclude={"task": {"train", "validation", "test"}})
        results["made_by"][task] = {"config": config, "environment": environment(context, data).to_dict()}
    with messages(), ray_session():
        for task, (context, _) in prepared.items():
            sites = find_sites(context.backbone().model)
            bench = Bench(context, options.out / "work" / task, dict(options.rates))
            results["rows"] += bench.rows(entries(sites, options))
            write(results, options.out)
    known = {(r["task"], r["method"], r["budget"]) for r in results["rows"]}
    for part in parts:
        results["rows"] += [r for r in part["rows"] if (r["task"], r["method"], r["budget"]) not in known]
        results["earlier"].append({name: part.get(name) for name in ("made_by", "options", "earlier")})
    write(results, options.out)


if __name__ == "__main__":
    main()
