"""Differentiable search inside each trial, or one structure a trial? Hypervolume over training steps.

    python experiments/benchmarks/search_efficiency.py --out OUT [--trials 16] [--steps 60] [--seeds 3]

Searches with the same trials, steps, rungs and stopping: trials that search by gradient, their settings by TPE or at
random; and trials that train one sampled structure each (blocks on or off, a size a kind), by TPE, NSGA-II, at random.
What counts is the hypervolume (quality, parameters, quality under perturbation, on validation) of all that was
reported, over the steps that were spent. Headlines on MiniLM, clean training text. OUT keeps the searches, so that a
benchmark that was stopped goes on, and gets ``search_efficiency.json`` and ``search_efficiency.png``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from slat_search.search.runtime import ray_session  # first: sets Ray's environment

from slat_search.analysis.hypervolume import Reference, hypervolume  # isort: skip
from slat_search.cli.terminal import messages
from slat_search.config import Config
from slat_search.files import write_json
from slat_search.provenance import environment
from slat_search.search.trial_log import Trial
from slat_search.search.tune import run_search
from slat_search.training.context import prepare

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CLEAN = {"noise_kind": ["none"], "noise_ratio": {"low": 0, "high": 0}}
#: a fixed structure wants a larger rate than a whole supernet, which raises its own as it shrinks
RATES = {"gates": {"low": 5e-4, "high": 5e-3}, "static": {"low": 1e-3, "high": 3e-2}}
METHODS = {
    "gradient, TPE": ("gates", "tpe"),
    "gradient, random": ("gates", "random"),
    "static, TPE": ("static", "tpe"),
    "static, NSGA-II": ("static", "nsga2"),
    "static, random": ("static", "random"),
}


def configuration(method: str, sampler: str, trials: int, steps: int, seed: int, rows: int | None) -> Config:
    space: dict[str, Any] = {**CLEAN, "learning_rate": RATES[method]}
    return Config.model_validate(
        {
            "name": "search_efficiency",
            "seed": seed,
            "task": {"name": "bbc-headline", "max_rows": rows},
            "training": {"steps": steps, "batch_size": 16},
            "search": {"method": method, "sampler": sampler, "trials": trials, "space": space},
            "evaluation": {"ratios": [0]},
        }
    )


def curve(trials: list[Trial], grid: np.ndarray, reference: Reference) -> np.ndarray:
    """Hypervolume at each number of steps in ``grid``; after the last trial it stays."""
    spent, reported, result = 0, [], []
    for trial in trials:
        before = 0
        for report in trial.history:
            spent += report.step - before
            before = report.step
            while len(result) < len(grid) and grid[len(result)] < spent:
                result.append(volume(reported, reference))
            reported.append({**report.row(), "retained": report.quality_perturbed})
    return np.array([*result, *[volume(reported, reference)] * (len(grid) - len(result))])


def volume(reports: list[dict[str, Any]], reference: Reference) -> float:
    return hypervolume(pd.DataFrame(reports), reference) if reports else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="texts, at most")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    grid = np.linspace(0, options.trials * options.steps, 49)[1:]
    curves: dict[str, list[np.ndarray]] = {}
    rows = []
    with messages(), ray_session():
        for seed in range(options.seeds):
            for name in options.methods:
                config = configuration(*METHODS[name], options.trials, options.steps, seed, options.rows)
                context, data = prepare(config)
                folder = options.out / "work" / f"{name.replace(', ', '-')}-{seed}"
                trials = run_search(context, folder)
                reference = Reference.above(context.majority)
                curves.setdefault(name, []).append(curve(trials, grid, reference))
                seconds = sum(trial.report.seconds for trial in trials if trial.report)
                steps = sum(trial.report.step for trial in trials if trial.report)
                last = float(curves[name][-1][-1])
                rows.append({"method": name, "seed": seed, "hypervolume": last, "steps": steps, "seconds": seconds})
                print(rows[-1], flush=True)
        made_by = {"config": config.model_dump(mode="json"), "environment": environment(context, data).to_dict()}
    table = pd.DataFrame(rows)
    write_json(
        options.out / "search_efficiency.json",
        {
            "options": {key: value for key, value in vars(options).items() if key != "out"},
            "made_by": made_by,
            "searches": rows,
            "steps": grid.tolist(),
            "hypervolume": {name: [c.tolist() for c in result] for name, result in curves.items()},
        },
    )
    plot(curves, grid, options.out / "search_efficiency.png")
    print(
        table.groupby("method", sort=False)[["hypervolume", "steps", "seconds"]]
        .agg(["mean", "std"])
        .round(4)
        .to_string()
    )


def plot(curves: dict[str, list[np.ndarray]], grid: np.ndarray, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(6.8, 4.4))
    for number, (name, found) in enumerate(curves.items()):
        values = np.array(found)
        style = "-" if name.startswith("gradient") else "--"
        axis.plot(grid, values.mean(axis=0), style, color=f"C{number}", lw=2, label=name)
        axis.fill_between(grid, values.min(axis=0), values.max(axis=0), color=f"C{number}", alpha=0.12, lw=0)
    axis.set_xlabel("training steps spent by the search")
    axis.set_ylabel("hypervolume of what was found (validation)")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=140)


if __name__ == "__main__":
    main()
