"""The outcome of the studies in plain words, and the table of changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ...config.sensitivity import SEARCHED
from ..importance import CHANCE, FEWEST
from .data import Studies


def summary(studies: Studies) -> list[str]:
    """Summarize each study in a sentence or two."""
    return [
        *_sparsity(studies),
        *_sharing(studies),
        *_ratios(studies, "noise"),
        *_ratios(studies, "perturbation"),
        *_screening(studies),
    ]


def changes(studies: Studies) -> pd.DataFrame:
    """``study kind at`` and a column a method: change at the far end of each curve with its interval, as text."""
    rows = []
    for study in ("noise", "perturbation"):
        for kind in studies.kinds(study):
            last = {method: _last(studies.curve(study, kind, method)) for method in studies.methods}
            far = max((row["value"] for row in last.values() if row is not None), default=np.nan)
            cells = {method: "-" if row is None else _change(row) for method, row in last.items()}
            name = "noise in training" if study == "noise" else "perturbed text"
            rows.append({"study": name, "kind": kind.replace("_", " "), "at": f"{far:.0%}", **cells})
    return pd.DataFrame(rows)


def _last(curve: pd.DataFrame) -> pd.Series | None:
    return curve.iloc[-1] if len(curve) else None


def _change(row: pd.Series) -> str:
    return f"{row['change']:+.3f} ({row['change_low']:+.3f} to {row['change_high']:+.3f})"


def _weight(studies: Studies, study: str) -> pd.DataFrame | None:
    """The curve of the search over a weight, if it is one."""
    curve = studies.curve(study, "weight", SEARCHED)
    return curve if len(curve) > 1 else None


def _beyond_chance(curve: pd.DataFrame, reference: float) -> str:
    worse = [f"{row['value']:g}: {_change(row)}" for _, row in curve[curve["change_high"] < 0].iterrows()]
    return f"Worse than at weight {reference:g} beyond chance: {', '.join(worse) or 'no weight'}."


def _sharing(studies: Studies) -> Iterator[str]:
    curve = _weight(studies, "sharing")
    if curve is None:
        return
    first, last = curve.iloc[0], curve.iloc[-1]
    yield (
        f"From weight of sharing {first['value']:g} to {last['value']:g} the part of the pool that several tasks use "
        f"goes from {first['shared']:.0%} to {last['shared']:.0%}, its size from {first['params']:,.0f} to "
        f"{last['params']:,.0f} parameters, and test {studies.metric} from {first['quality']:.3f} to "
        f"{last['quality']:.3f}."
    )
    yield _beyond_chance(curve, studies.config.sharing)


def _sparsity(studies: Studies) -> Iterator[str]:
    curve = _weight(studies, "sparsity")
    if curve is None:
        return
    first, last, best = curve.iloc[0], curve.iloc[-1], curve.sort_values("quality").iloc[-1]
    yield (
        f"From sparsity weight {first['value']:g} to {last['value']:g} the structure that the search ends with shrinks "
        f"from {first['params']:,.0f} to {last['params']:,.0f} parameters, and test {studies.metric} goes from "
        f"{first['quality']:.3f} to {last['quality']:.3f}; it is highest, {best['quality']:.3f}, at {best['value']:g}."
    )
    yield _beyond_chance(curve, studies.config.weight)


def _ratios(studies: Studies, study: str) -> Iterator[str]:
    """Say what the largest ratio takes from the search and, at least and at most, from the others; a sentence a
    kind."""
    for kind in studies.kinds(study):
        last = {
            method: row for method in studies.methods if (row := _last(studies.curve(study, kind, method))) is not None
        }
        searched = last.pop(SEARCHED, None)
        if searched is None:
            continue
        what = "noise in training" if study == "noise" else "of the words perturbed"
        text = f"{searched['value']:.0%} {what} ({kind.replace('_', ' ')}) changes {SEARCHED} by {_change(searched)}"
        if last:
            ordered = sorted(last.items(), key=lambda item: item[1]["change"])
            (least, low), (most, high) = ordered[0], ordered[-1]
            text += f"; the baselines by {low['change']:+.3f} ({least})"
            text += f" to {high['change']:+.3f} ({most})" if len(ordered) > 1 else ""
        yield text + "."


def _screening(studies: Studies) -> Iterator[str]:
    if studies.importance.empty:
        if studies.screened:
            yield (
                f"What the search samples was screened with {studies.screened} trials; fewer than {FEWEST} of them "
                "completed, which is too few to tell what mattered."
            )
        return
    parts = []
    for measure in dict.fromkeys(studies.importance["measure"]):
        found = studies.importance[studies.importance["measure"] == measure]
        chance = found.set_index("factor").loc[CHANCE, "high"]
        mattered = found[found["matters"]].sort_values("importance", ascending=False)
        named = [f"{row['factor'].replace('_', ' ')} ({row['importance']:.0%})" for _, row in mattered.iterrows()]
        parts.append(f"for {measure}, {', '.join(named) or 'nothing'} (chance: up to {chance:.0%})")
    yield (
        f"Of what the search samples, this mattered beyond chance over {studies.screened} trials, as a share of "
        f"the variance: {'; '.join(parts)}. Chance is what a random number gets that cannot matter."
    )
