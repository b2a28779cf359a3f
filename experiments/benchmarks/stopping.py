"""Which early stopping finds most for its steps? Each rule is played on recorded trials, in many random orders.

    slat run experiments/stopping_headline.yaml
    python experiments/benchmarks/stopping.py runs/stopping_headline --out OUT [--orders 200]

The run's trials were not stopped, so whatever a rule decides at a rung, what would have come after it is known. A rule
is the scheduler itself: multi-objective ASHA, ASHA on quality alone, a coin that lets as many go on, or none. What
counts is the hypervolume (quality, parameters, quality under perturbation, on validation) of all that was reported,
over the steps that were spent. OUT gets ``stopping.json`` and ``stopping.png``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from slat_search.analysis.hypervolume import Reference, hypervolume
from slat_search.config import load_config
from slat_search.files import write_json
from slat_search.records import Environment
from slat_search.search.asha import RungScheduler
from slat_search.search.tune import OBJECTIVES

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Report = dict[str, Any]
Decide = Callable[[str, int, Report], bool]


def scheduler(rungs: Sequence[int], factor: float, *objectives: str) -> Decide:
    """The scheduler of a search, on one objective or several."""
    chosen = {str(name): OBJECTIVES[name] for name in OBJECTIVES if name in objectives}
    asha = RungScheduler(rungs, chosen, factor, record=None)
    return lambda trial, step, report: asha.decide(trial, step, report) == "CONTINUE"


def coin(rungs: Sequence[int], factor: float, random: np.random.Generator) -> Decide:
    """Lets as many go on as the others, whatever they report."""
    return lambda trial, step, report: step not in rungs or random.random() < 1 / factor


def play(trials: Sequence[list[Report]], decide: Decide, grid: np.ndarray, reference: Reference) -> np.ndarray:
    """Hypervolume at each number of steps in ``grid``, one trial after another; nan after the last of them."""
    spent, reported, curve = 0, [], []
    for number, reports in enumerate(trials):
        before = 0
        for report in reports:
            spent += report["step"] - before
            before = report["step"]
            while len(curve) < len(grid) and grid[len(curve)] < spent:
                curve.append(hypervolume(pd.DataFrame(reported), reference) if reported else 0.0)
            reported.append(report)
            if report is not reports[-1] and not decide(str(number), report["step"], report):
                break
    return np.array([*curve, *[np.nan] * (len(grid) - len(curve))])


def steps_to(means: pd.DataFrame, level: float) -> dict[str, float | None]:
    """Steps at which the mean of each rule is first at ``level``; None where it never is."""
    return {
        str(name): (float(mean[mean >= level].index[0]) if mean.max() >= level else None)
        for name, mean in means.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--orders", type=int, default=200, help="random orders of the trials")
    options = parser.parse_args()
    config = load_config(options.run / "config.yaml")
    history = pd.read_csv(options.run / "history.csv")
    # quality under perturbation stands in the place of what is retained of it: a trial that learnt nothing retains all
    history["retained"] = history["quality_perturbed"]
    trials = [rows.to_dict("records") for _, rows in history.groupby("trial")]
    full = [reports for reports in trials if reports[-1]["step"] == config.training.steps]
    rungs = sorted({report["step"] for reports in full for report in reports} - {config.training.steps})
    factor = config.search.scheduler.reduction_factor
    environment = Environment.read(options.run / "environment.json")
    reference = Reference.above(float(history["quality"].min()))

    def rules(random: np.random.Generator) -> dict[str, Decide]:
        return {
            "multi-objective ASHA": scheduler(rungs, factor, *map(str, OBJECTIVES)),
            "ASHA on quality": scheduler(rungs, factor, "quality"),
            "a coin": coin(rungs, factor, random),
            "no stopping": lambda trial, step, report: True,
        }

    grid = np.linspace(0, config.training.steps * len(full), 101)[1:]
    curves: dict[str, list[np.ndarray]] = {}
    for order in range(options.orders):
        random = np.random.default_rng(order)
        shuffled = [full[i] for i in random.permutation(len(full))]
        for name, decide in rules(random).items():
            curves.setdefault(name, []).append(play(shuffled, decide, grid, reference))
    means = pd.DataFrame({name: np.mean(found, axis=0) for name, found in curves.items()}, index=grid)
    means.index.name = "steps"
    known = means.dropna()
    ours = np.array(curves["multi-objective ASHA"])
    against = {}
    for name, found in curves.items():
        if name != "multi-objective ASHA":
            difference = (ours - np.array(found))[:, len(known) - 1]
            low, high = np.quantile(difference, [0.025, 0.975])
            against[name] = {"difference": float(difference.mean()), "low": float(low), "high": float(high)}
    levels = [share * known.iloc[-1].max() for share in (0.9, 0.95, 0.98)]
    write_json(
        options.out / "stopping.json",
        {
            "config": config.model_dump(mode="json"),
            "environment": environment.to_dict(),
            "orders": options.orders,
            "trials": len(full),
            "steps_compared": float(known.index[-1]),
            "hypervolume": json.loads(known.to_json()),
            "steps until the mean reaches": {f"{level:.3f}": steps_to(known, level) for level in levels},
            "multi-objective ASHA minus": against,
        },
    )
    plot(curves, grid, options.out / "stopping.png")
    print(known.iloc[:: max(1, len(known) // 8)].round(4).to_string())
    print(pd.DataFrame(against).T.round(4).to_string())
    print(pd.DataFrame({f"steps to {level:.3f}": steps_to(known, level) for level in levels}).to_string())


def plot(curves: dict[str, list[np.ndarray]], grid: np.ndarray, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    for number, (name, found) in enumerate(curves.items()):
        table = np.array(found)
        whole = ~np.isnan(table).any(axis=0)
        low, middle, high = np.quantile(table[:, whole], [0.25, 0.5, 0.75], axis=0)
        axis.plot(grid[whole], middle, color=f"C{number}", lw=2.2 if number == 0 else 1.4, label=name)
        axis.fill_between(grid[whole], low, high, color=f"C{number}", alpha=0.15, lw=0)
    axis.set_xlabel("training steps spent by the search")
    axis.set_ylabel("hypervolume of what was found (validation)")
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=140)


if __name__ == "__main__":
    main()
