"""The outcome of a run in plain words, whichever side wins."""

from __future__ import annotations

import pandas as pd

from ..records import ALONE
from .choice import (
    best_of,
    notes,
    recommended,
    verdict,
)
from .data import RunData
from .paired import Pair, difference
from .tables import found_ones, usable


def answer(table: pd.DataFrame, data: RunData) -> str:
    """Say what is recommended, then what was found, then how it stands beside the baselines and, of several tasks,
    beside each task trained alone."""
    metric, tolerance = data.config.metric, data.config.tolerance
    candidates = usable(table, data)
    said = [verdict(candidates, tolerance, metric)]
    chosen, found = recommended(candidates, tolerance), recommended(found_ones(table), tolerance)
    if chosen is not None:
        said.append(f"It reaches {_outcome(chosen, data)}.")
    if found is None:
        return " ".join([*said, "No structure that the search found could be trained."])
    if chosen is None or found["method"] != chosen["method"]:
        said.append(
            f"Of what was found, {found['name']} is the smallest within {tolerance:g} of the best found on validation "
            f"({found['validation']:.3f}); it reaches {_outcome(found, data)}."
        )
        if note := notes(candidates, tolerance).get(str(found["method"])):
            said.append(f"{note[0].upper()}{note[1:]}.")
    ceilings = table[(table["family"] == "baseline") & ~table["method"].isin(candidates["method"])]
    for ceiling in ceilings[ceilings["quality"] > 0].to_dict("records"):
        share = found["quality"] / ceiling["quality"]
        said.append(f"{found['name']} is at {share:.1%} of {ceiling['name']} ({ceiling['quality']:.3f}).")
    baselines = candidates[candidates["family"] == "baseline"]
    if len(baselines):
        best = best_of(baselines)
        said.append(_beside(found, best, ", the baseline that is best on validation", data))
        candidates = candidates[candidates["method"] != best["method"]]
    said += [_beside(found, row, "", data) for _, row in candidates[candidates["how"] == ALONE].iterrows()]
    return " ".join(said)


def _outcome(row: pd.Series, data: RunData) -> str:
    quality, users = f"{row['quality']:.3f} on test", ""
    if data.several:
        quality = f"{row['quality']:.3f} on test, mean of {len(data.tasks)} tasks, and {row['worst']:.3f} on the worst,"
        users = "; used by " + ", ".join(f"{task} {row[f'own: {task}']:,}" for task in data.tasks)
    return (
        f"{quality} with {row['params']:,} trained parameters ({row['params_percent']:.3f} % of the backbone{users}) "
        f"and retains {row['retained']:.1%} of it under perturbed input"
    )


def _beside(found: pd.Series, rival: pd.Series, which: str, data: RunData) -> str:
    """Compare a found structure with another method: by how much, whether that may be chance, and on which tasks."""
    one, two = (data.predictions_of(row["method"]) for row in (found, rival))
    apart: object = f"{found['quality'] - rival['quality']:+.3f}"
    if one and two:
        metrics = [task.metric for task in data.config.tasks]
        apart = difference([Pair(*both) for both in zip(one, two, metrics, strict=True)])
    tasks = "; " + ", ".join(f"{task} {found[task] - rival[task]:+.3f}" for task in data.tasks) if data.several else ""
    ratio = f", {rival['params'] / found['params']:.1f} times as many" if rival["params"] > found["params"] > 0 else ""
    return (
        f"Against {rival['name']}{which}, with {rival['quality']:.3f} and {rival['params']:,} parameters{ratio}: "
        f"{apart}{tasks}."
    )
