"""Which differences between compared methods may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..paired import Pair, difference
from ..robustness import Predictions
from ..statistics import holm, mean_interval, sign_flip_test
from .compared import Compared, all_rows

TEXTS, PAIRS = "texts and seeds", "pairs of task and seed"


def level(runs: Sequence[Compared], best: str, other: str) -> bool:
    """Whether the difference of two methods on one task may be chance, by its 95 % interval.

    By :func:`..paired.difference` where both runs still have their predictions; else from the number of test texts, as
    for unpaired accuracies; for other metrics from the paired seeds.
    """
    if pairs := _pairs(runs, best, other):
        return difference(pairs).may_be_chance
    one, two = (_rows_of(runs, name) for name in (best, other))
    means = [part["quality"].mean() for _, part in (one, two)]
    if one[0].metric == "accuracy":
        return bool(means[0] - means[1] <= 1.96 * np.sqrt(sum(q * (1 - q) for q in means) / one[0].texts))
    seeds = [part.set_index("seed")["quality"] for _, part in (one, two)]
    low, high = mean_interval((seeds[0] - seeds[1]).dropna().to_numpy())
    return bool(np.isnan(low) or low <= 0 <= high)


def _pairs(runs: Sequence[Compared], one: str, two: str) -> list[Pair]:
    """Return the predictions of two methods for the test texts of each task that both are on, as far as runs kept
    them."""
    pairs = []
    for name in dict.fromkeys(run.dataset for run in runs):
        here = [run for run in runs if run.dataset == name]
        said = [_said(here, method) for method in (one, two)]
        if None in said:
            continue
        if not all(said):
            return []
        pairs.append(Pair(said[0] or [], said[1] or [], here[0].metric))
    return pairs


def _said(runs: Sequence[Compared], method: str) -> Sequence[Predictions] | None:
    """Predictions of a method on one task; None where no run has it, empty where they were not kept."""
    having = [(run, part) for run in runs if len(part := run.results[run.results["as"] == method])]
    return having[0][0].predictions.get(having[0][1]["method"].iloc[0], []) if having else None


def _rows_of(runs: Sequence[Compared], method: str) -> tuple[Compared, pd.DataFrame]:
    """The run that has a method, and its rows."""
    parts = ((run, run.results[run.results["as"] == method]) for run in runs)
    return next((run, part) for run, part in parts if len(part))


def tests(runs: Sequence[Compared], reference: str) -> pd.DataFrame:
    """Every other method minus ``reference`` in quality, over the tasks that both are on; Holm's correction over rows.

    Where the runs still have their predictions, interval and p are those of :func:`..paired.difference`, over texts and
    seeds; else they are those of the pairs of task and seed alone. ``over`` says which.
    """
    rows = all_rows(runs)
    wide = rows[rows["as"] != ""].pivot_table(index=["dataset", "seed"], columns="as", values="quality", sort=False)
    found: list[dict[str, Any]] = []
    for method in wide.columns.drop(reference):
        apart = (wide[method] - wide[reference]).dropna().to_numpy()
        if not len(apart):
            continue
        row = {"method": method, "minus": reference, "pairs": len(apart), "difference": apart.mean()}
        if pairs := _pairs(runs, method, reference):
            tested = difference(pairs)
            found.append({**row, "low": tested.low, "high": tested.high, "p": tested.p, "over": TEXTS})
        else:
            low, high = mean_interval(apart)
            found.append({**row, "low": low, "high": high, "p": sign_flip_test(apart), "over": PAIRS})
    table = pd.DataFrame(found)
    if not table.empty:
        table["p_holm"] = holm(table["p"].to_numpy())
    return table
