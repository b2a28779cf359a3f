"""The comparison as people read it: wide tables, and what they say in a few sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ..formats import to_latex, to_markdown
from .compared import RECOMMENDED, SHARED
from .table import AVERAGE, reference_method
from .tested import PAIRS

#: mark -> how a value that has it is written
_MARKS: dict[str, Callable[[str], str]] = {"best": lambda s: f"**{s}**", "level": lambda s: f"{s} ≈", "": str}
NOTE = (
    "Test quality, mean ± standard deviation over seeds; the best of each task is bold, and ≈ marks what differs from "
    "it by no more than chance (95 %). The average and the mean rank are over tasks, of methods that all of them have. "
    "Parameters, stored bytes (where known), retained quality, seconds and memory are means over tasks; memory is what "
    "a training took beyond model and data."
)
POOLS = " What several tasks train together (shared) counts in equal parts for each: its parameters and its seconds."


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """One row a method, found ones first and then by parameters; one column a task."""
    datasets = [name for name in table["dataset"].unique() if name != AVERAGE]
    many = AVERAGE in set(table["dataset"])
    known = bool(table["bytes"].notna().any())
    rows = []
    for method, part in table.groupby("method", sort=False):
        by_dataset = part.set_index("dataset")
        tasks = by_dataset.drop(index=AVERAGE, errors="ignore")
        cells: dict[str, Any] = {"method": method}
        for name in datasets:
            cells[name] = _quality(by_dataset.loc[name]) if name in by_dataset.index else "-"
        if many:
            whole = AVERAGE in by_dataset.index
            cells[AVERAGE] = f"{float(by_dataset['quality'][AVERAGE]):.3f}" if whole else "-"
            cells["mean rank"] = f"{float(by_dataset['rank'][AVERAGE]):.1f}" if whole else "-"
        params, percent = tasks["params"].mean(), tasks["params_percent"].mean()
        memory = tasks["memory"].mean()
        cells |= {
            "parameters": f"{params:,.0f}",
            **_stored(tasks, known),
            "% of backbone": f"{percent:.3f}",
            "compression": f"{100 / percent:,.0f}x" if percent else "-",
            "retained": f"{tasks['retained'].mean():.3f}",
            "seconds": f"{tasks['train_seconds'].mean():.0f}",
            "memory": "-" if np.isnan(memory) else f"{memory / 2**20:,.0f} MiB",
            **({"front": "yes" if _on_front(by_dataset, many) else ""} if many or len(datasets) == 1 else {}),
        }
        rows.append((part["family"].iloc[0] != "slat", params, cells))
    return pd.DataFrame([cells for _, _, cells in sorted(rows, key=lambda row: row[:2])])


def _stored(tasks: pd.DataFrame, known: bool) -> dict[str, str]:
    """The cell of stored bytes, where those of any method are known."""
    mean = tasks["bytes"].mean(skipna=False)
    return {"stored bytes": "-" if np.isnan(mean) else f"{mean:,.0f}"} if known else {}


def _on_front(by_dataset: pd.DataFrame, many: bool) -> bool:
    """Whether it is on the front, of averages if several."""
    if many:
        return AVERAGE in by_dataset.index and bool(by_dataset.loc[AVERAGE, "on_front"])
    return bool(by_dataset["on_front"].iloc[0])


def _quality(row: pd.Series) -> str:
    spread = "" if np.isnan(row["quality_sd"]) else f" ± {row['quality_sd']:.3f}"
    return _MARKS[row["mark"]](f"{row['quality']:.3f}{spread}")


def markdown(table: pd.DataFrame) -> str:
    return to_markdown(wide(table))


def latex(table: pd.DataFrame) -> str:
    return to_latex(wide(table))


def html(cell: str) -> str:
    """A cell of a table that was written for Markdown."""
    bold = re.fullmatch(r"\*\*(.+)\*\*", cell)
    return Markup("<strong>{}</strong>").format(bold[1]) if bold else cell


def answer(table: pd.DataFrame, tests: pd.DataFrame, ranks: dict[str, Any]) -> list[str]:
    """Summarize the comparison, whichever side wins."""
    tasks = [name for name in table["dataset"].unique() if name != AVERAGE]
    if len(tasks) > 1 and AVERAGE not in set(table["dataset"]):
        return ["No method is there on all tasks, so there is no average, and nothing is tested."]
    rows = table[table["dataset"] == (AVERAGE if len(tasks) > 1 else tasks[0])]
    on = f"over {len(tasks)} tasks" if len(tasks) > 1 else f"on {tasks[0]}"
    said, best = [], reference_method(table)
    for found in rows[rows["method"].str.startswith(RECOMMENDED)].to_dict("records"):
        each = " for each" if SHARED in found["method"] else ""
        outcome = (
            f"{found['method']}: {found['quality']:.3f} {on} with {found['params']:,.0f} parameters{each} "
            f"({found['params_percent']:.3f} % of the backbone); it retains {found['retained']:.1%} under perturbed "
            f"input."
        )
        said.append(" ".join([outcome, *_beside(found, rows)]))
    for test in tests.to_dict("records"):
        if test["method"].startswith("SLAT") and not np.isnan(test["low"]):
            which = ", the baseline that is best on validation" if test["minus"] == best else ""
            said.append(
                f"{test['method']} minus {test['minus']}{which}: "
                f"{test['difference']:+.3f} ({test['low']:+.3f} to {test['high']:+.3f}, over {_count(test)}, "
                f"p = {test['p_holm']:.2g} after Holm's correction)."
            )
    if ranks.get("critical_difference"):
        said.append(
            f"Mean ranks that lie less than {ranks['critical_difference']:.2f} apart do not differ (Nemenyi, 5 %); "
            f"Friedman's p = {ranks['friedman_p']:.2g}."
        )
    return said


def _beside(found: dict[Hashable, Any], rows: pd.DataFrame) -> list[str]:
    """A found structure beside full fine-tuning and beside the smallest baseline that reaches as much."""
    said = [
        f"That is {found['quality'] / ceiling['quality']:.1%} of {ceiling['method']} ({ceiling['quality']:.3f})."
        for ceiling in rows[rows["ceiling"]].to_dict("records")
        if ceiling["quality"] > 0
    ]
    equals = rows[(rows["family"] == "baseline") & ~rows["ceiling"] & (rows["quality"] >= found["quality"])]
    if equals.empty:
        return [*said, "No baseline reaches that."]
    least = equals.sort_values("params").iloc[0]
    size = f"{least['params']:,.0f}"
    return [*said, f"The smallest baseline that reaches it is {least['method']} with {size} parameters."]


def _count(test: Mapping[Hashable, Any]) -> str:
    return f"{test['pairs']} {PAIRS}" if test["over"] == PAIRS else test["over"]


def tests_shown(tests: pd.DataFrame) -> Sequence[dict[str, str]]:
    return [
        {
            "method": row["method"],
            "minus": row["minus"],
            "pairs": str(row["pairs"]),
            "difference": f"{row['difference']:+.3f}",
            "95 % interval": "-" if np.isnan(row["low"]) else f"{row['low']:+.3f} to {row['high']:+.3f}",
            "over": row["over"],
            "p": f"{row['p']:.2g}",
            "p (Holm)": f"{row['p_holm']:.2g}",
        }
        for row in tests.to_dict("records")
    ]
