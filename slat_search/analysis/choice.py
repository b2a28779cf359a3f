"""Which adapter a run recommends: the smallest of those that are as good as the best, hand-made or found."""

from __future__ import annotations

import pandas as pd

from ..records import Environment, KeptConfig, Recommended
from ..run_folder import RunFolder

_ROUNDING = 1e-9  # 0.9 - 0.01 is a little above 0.89


def recommended(table: pd.DataFrame, tolerance: float) -> pd.Series | None:
    """The smallest row whose validation quality is within ``tolerance`` of the best; None of an empty table.

    Args:
        table: a row a method, with ``validation`` and ``params``.
    """
    if table.empty:
        return None
    near = table[table["validation"] >= table["validation"].max() - tolerance - _ROUNDING]
    return near.sort_values(["params", "validation"], ascending=[True, False], kind="stable").iloc[0]


def recommended_in(run: RunFolder, table: pd.DataFrame) -> pd.Series | None:
    """Return the row of a run's table that the run recommends: as it chose, or where it kept no adapters, as it would.

    Args:
        table: a row a method, with ``method``, ``validation`` and ``params``.
    """
    if (best := run / "adapters" / "best.json").is_file():
        table = table[table["method"] == Recommended.read(best).adapter]
    size = Environment.read(run / "environment.json").model.params
    return recommended(table[table["params"] < size], KeptConfig.of(run).tolerance)


def best_of(table: pd.DataFrame) -> pd.Series:
    """The row with the best validation quality."""
    return table.sort_values("validation", ascending=False, kind="stable").iloc[0]


def verdict(usable: pd.DataFrame, tolerance: float, metric: str) -> str:
    """Choose the method to recommend among those that leave an adapter, and say why in one sentence.

    Args:
        usable: a row a method, with ``name``, ``family``, ``validation`` and ``params``.
    """
    chosen = recommended(usable, tolerance)
    if chosen is None:
        return "No method leaves an adapter."
    best = best_of(usable)
    if not chosen["params"]:
        above = (
            f"no method is more than {tolerance:g} above its {chosen['validation']:.3f} (the best, {best['name']}, has "
            f"{best['validation']:.3f})"
            if best["validation"] > chosen["validation"]
            else f"no method is above its {chosen['validation']:.3f}"
        )
        return f"No adapter is recommended, but the bare head ({chosen['name']}): in validation {metric} {above}."
    why = f"the smallest of all methods within {tolerance:g} of the best validation {metric} ({best['validation']:.3f}"
    why += ")" if best["name"] == chosen["name"] else f", of {best['name']})"
    if chosen["family"] != "slat":
        return f"No found structure is recommended, but {chosen['name']}, which is hand-made: it is {why}."
    return f"{chosen['name']} is recommended: it is {why}."


def notes(usable: pd.DataFrame, tolerance: float) -> dict[str, str]:
    """Return doubts about each adapter, by its label: that it is a bare head or hand-made, or that the bare head or
    another method is as good or better on validation. Nothing of an adapter that holds what it promises."""
    chosen = recommended(usable, tolerance)
    heads = usable[usable["params"] == 0]
    head = heads["validation"].max() if len(heads) else -float("inf")
    found = {}
    for _, row in usable.iterrows():
        said = []
        better = usable[usable["validation"] > row["validation"] + tolerance + _ROUNDING]
        if not row["params"]:
            said.append("this is the bare head: nothing is adapted in the model")
        elif row["validation"] <= head:
            said.append(f"the bare head alone is as good on validation ({head:.3f} against {row['validation']:.3f})")
        if len(better):
            rival = best_of(better)
            said.append(
                f"{rival['name']} is better on validation ({rival['validation']:.3f} against {row['validation']:.3f})"
            )
        if chosen is not None and row["method"] == chosen["method"] and row["family"] != "slat" and row["params"]:
            said.append("this is hand-made: no found structure is as small and within the tolerance")
        if said:
            found[str(row["method"])] = "; ".join(said)
    return found


def write_choice(run: RunFolder, usable: pd.DataFrame, found: pd.DataFrame, tolerance: float) -> None:
    """``adapters/best.json``: the recommended adapter of the run, the recommended of the ``found`` ones, and
    :func:`notes`, as far as the run has kept adapters."""
    folder = run / "adapters"
    kept = usable[[(folder / label).is_dir() for label in usable["method"]]]
    chosen = recommended(kept, tolerance)
    if chosen is None:
        return
    own = recommended(found[found["method"].isin(kept["method"])], tolerance)
    best = Recommended(
        adapter=chosen["method"], found=None if own is None else own["method"], notes=notes(kept, tolerance)
    )
    best.write(folder / "best.json")
