"""Do related tasks share structure? Which parts of one pool each of several tasks uses, over seeds and budgets.

    python experiments/benchmarks/task_overlap.py --data FOLDER --out OUT [--related sick rte mrpc]

FOLDER holds a folder a task with train, validation and test parquet files. Each search is over all tasks together, held
at a number of parameters, and a further user of an atom pays as much as the first (sharing 1), so that nothing speaks
for or against using the same. Overlap is the parameters that two tasks both use over those that either uses. The
contrast is the mean overlap of related pairs minus that of all other pairs, and its p the share of all sets of as many
tasks whose contrast is at least as large. OUT keeps the searches, so that a benchmark that was stopped goes on, and
gets ``task_overlap.json`` and ``task_overlap.png``.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from slat_search.search.runtime import ray_session  # first: sets Ray's environment

from slat_search.analysis.sharing import overlap  # isort: skip
from local import kept_in, task_in

from slat_search.cli.terminal import messages
from slat_search.comparison.job_runner import JobRunner
from slat_search.config import Config
from slat_search.files import write_json
from slat_search.provenance import environment
from slat_search.records import Trained, TrainingJob
from slat_search.training.context import prepare

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def configuration(options: argparse.Namespace) -> Config:
    return Config.model_validate(
        {
            "name": "task_overlap",
            "tasks": [{**task_in(options.data, task), "max_rows": options.rows} for task in options.tasks],
            "training": {"steps": options.steps, "batch_size": options.batch_size},
            "evaluation": {"ratios": [0]},
            "resources": {"trials_per_gpu": options.per_gpu},
        }
    )


def search(options: argparse.Namespace, budget: int, seed: int) -> TrainingJob:
    given = {"kinds": options.kinds, "sharing": options.sharing, "budget": budget}
    label = f"pool-{budget}-{options.kinds}-{options.sharing:g}"
    return TrainingJob("search", label, options.learning_rate, seed, options=given)


def row(job: TrainingJob, result: Trained, related: Collection[str]) -> dict[str, Any]:
    """What is kept of one search."""
    overlaps = overlap(result.structure)
    return {
        "budget": job.options["budget"],
        "seed": job.seed,
        "contrast": contrast(overlaps, related),
        "overlap": overlaps.to_dict(),
        **{name: result.to_dict()[name] for name in ("params", "validation", "seconds", "structure")},
    }


def contrast(overlaps: pd.DataFrame, related: Collection[str]) -> float:
    """Mean overlap of pairs among ``related`` minus that of all other pairs."""
    inside: dict[bool, list[float]] = {True: [], False: []}
    for one, two in itertools.combinations(overlaps.index, 2):
        inside[{one, two} <= set(related)].append(float(overlaps.loc[one, two]))
    return float(np.mean(inside[True]) - np.mean(inside[False]))


def by_chance(overlaps: pd.DataFrame, related: Collection[str]) -> float:
    """Share of all sets of as many tasks whose contrast is at least that of ``related``."""
    result = contrast(overlaps, related)
    others = [contrast(overlaps, chosen) for chosen in itertools.combinations(overlaps.index, len(related))]
    return float(np.mean([other >= result - 1e-12 for other in others]))


def draw(means: dict[int, pd.DataFrame], path: Path) -> None:
    """A square a pair of tasks, a panel a budget."""
    figure, axes = plt.subplots(1, len(means), figsize=(1 + 4.2 * len(means), 4.2), squeeze=False)
    for axis, (budget, mean) in zip(axes[0], means.items(), strict=True):
        shown = mean.where(~np.eye(len(mean), dtype=bool))
        axis.imshow(shown, cmap="Blues", vmin=0, vmax=max(1e-9, float(np.nanmax(shown))))
        for (row, column), value in np.ndenumerate(shown.to_numpy()):
            if row != column:
                colour = "white" if value > 0.6 * np.nanmax(shown) else "black"
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
        axis.set_xticks(range(len(mean)), mean.columns, rotation=45)
        axis.set_yticks(range(len(mean)), mean.index)
        axis.set_title(f"{budget:,} parameters", fontsize=10)
    figure.suptitle("share of their parameters that two tasks both use, mean over seeds", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=["sst2", "trec", "cola", "sick", "rte", "mrpc"])
    parser.add_argument("--related", nargs="+", default=["sick", "rte", "mrpc"])
    parser.add_argument("--budgets", nargs="+", type=int, default=[24_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=900, help="of all tasks together")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rows", type=int, default=2000, help="texts of a split at most")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--sharing", type=float, default=1.0, help="what a further user of an atom pays of it")
    parser.add_argument("--per-gpu", type=int, help="searches that share a GPU; one unless told otherwise")
    parser.add_argument("--kinds", default="all", help="candidate kinds, joined by +")
    options = parser.parse_args()
    if missing := set(options.related) - set(options.tasks):
        parser.error(f"--related: {min(missing)} is not among the tasks")
    config = configuration(options)
    context, data = prepare(config)
    jobs = [search(options, budget, seed) for budget in options.budgets for seed in range(options.seeds)]
    work = kept_in(options.out / "work", config)
    with messages(), ray_session():
        results = JobRunner(context, work).train_successful(jobs)
    result = [
        row(job, results[job.key], options.related)
        for job in jobs
        if job.key in results  # else the pool has told why not
    ]
    if not result:
        sys.exit("every search diverged; a smaller --learning-rate may help")
    means = {
        budget: sum(overlaps[1:], overlaps[0]) / len(overlaps)
        for budget in options.budgets
        if (overlaps := [pd.DataFrame(one["overlap"]) for one in result if one["budget"] == budget])
    }
    contrasts = [
        {
            "budget": budget,
            "contrast": contrast(mean, options.related),
            "of_each_seed": [one["contrast"] for one in result if one["budget"] == budget],
            "p": by_chance(mean, options.related),
        }
        for budget, mean in means.items()
    ]
    settings = {key: value for key, value in vars(options).items() if key not in ("data", "out", "per_gpu")}
    told = config.model_dump(mode="json", exclude={"task": {"train"}, "tasks": {"__all__": {"train"}}})
    made_by = {"config": told, "environment": environment(context, data).to_dict()}
    kept = {"options": settings, "contrasts": contrasts, "searches": result, "made_by": made_by}
    write_json(options.out / "task_overlap.json", kept)
    draw(means, options.out / "task_overlap.png")
    for budget, mean in means.items():
        print(f"{budget:,} parameters\n{mean.round(3).to_string()}")
    print(pd.DataFrame(contrasts).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
