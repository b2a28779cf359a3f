"""The outcome of a run in plain words, whichever side wins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ..records import ALONE
from .choice import (
    best_of,
    notes,
    recommended,
    verdict,
)
from .data import RunData
from .formats import in_markdown, to_markdown
from .paired import Difference, Pair, difference
from .tables import found_ones, usable

NO_ADAPTER = "No method leaves an adapter."


@dataclass(frozen=True)
class Answer:
    """Conclusion of a run.

    Attributes:
        headline: one sentence: what to use, what it keeps, how sure that is.
        details: why, and what stands beside it, a sentence each.
        by_task: a row a task, with quality and parameters of what was found and its differences from others; empty of a
            single task.
    """

    headline: str
    details: tuple[str, ...]
    by_task: pd.DataFrame

    @property
    def markdown(self) -> str:
        """Return all of it as Markdown."""
        parts = [in_markdown(self.headline), in_markdown(" ".join(self.details))]
        parts += [to_markdown(self.by_task).rstrip()] if len(self.by_task) else []
        return "\n\n".join(parts) + "\n"


def answer(table: pd.DataFrame, data: RunData) -> Answer:
    """Say what to use, why, what was found, and how it stands beside the baselines and, of several tasks, beside each
    task trained alone."""
    metric, tolerance = data.config.metric, data.config.tolerance
    candidates = usable(table, data)
    chosen, found = recommended(candidates, tolerance), recommended(found_ones(table), tolerance)
    if chosen is None:
        return Answer(NO_ADAPTER, () if found is not None else (_NOTHING_FOUND,), pd.DataFrame())
    details = [verdict(candidates, tolerance, metric), f"It reaches {_outcome(chosen, data)}."]
    if found is None:
        return Answer(_headline(chosen, table, data), (*details, _NOTHING_FOUND), pd.DataFrame())
    if found["method"] != chosen["method"]:
        details.append(
            f"Of what was found, {found['name']} is the smallest within {tolerance:g} of the best found on validation "
            f"({found['validation']:.3f}); it reaches {_outcome(found, data)}."
        )
        if note := notes(candidates, tolerance).get(str(found["method"])):
            details.append(f"{note[0].upper()}{note[1:]}.")
    ceilings = _ceilings(table, data)
    for ceiling in ceilings[ceilings["quality"] > 0].to_dict("records"):
        share = found["quality"] / ceiling["quality"]
        details.append(f"{found['name']} is at {share:.1%} of {ceiling['name']} ({ceiling['quality']:.3f}).")
    rivals = [*_rivals(found, candidates)]
    details += [_beside(found, rival, which, data) for rival, which in rivals]
    by_task = _by_task(found, [rival for rival, _ in rivals], data) if data.several else pd.DataFrame()
    return Answer(_headline(chosen, table, data), tuple(details), by_task)


_NOTHING_FOUND = "No structure that the search found could be trained."


def _headline(chosen: pd.Series, table: pd.DataFrame, data: RunData) -> str:
    """Name the method to use, and how it stands beside the one that readers ask for first: full fine-tuning, or else
    the best one of the other side."""
    name, what = chosen["name"], f"{'mean ' if data.several else ''}test {_measure(data)}"
    if not chosen["params"]:
        use = f"Use the bare head ({name}), without an adapter"
    elif chosen["family"] != "slat":
        use = f"Use {name}, a hand-made method"
    else:
        use = f"Use {name}"
    rival = _first_rival(chosen, table, data)
    if rival is None:
        return f"{use}: {what} is {chosen['quality']:.3f} with {_size(chosen)}."
    levels = f"{chosen['quality']:.3f} against {rival['quality']:.3f}"
    if chosen["params"] <= rival["params"] and rival["quality"] > 0 and chosen["quality"] > 0:
        share = 100 * chosen["quality"] / rival["quality"]
        kept = "all" if share >= 100 else f"{share:.1f} %"
        said = f"it keeps {kept} of the {what} of {rival['name']} ({levels})"
    else:
        said = f"{what} is {levels} of {rival['name']},"
    return f"{use}: {said} with {_share(chosen, rival)}; {_sure(chosen, rival, data)}."


def _first_rival(chosen: pd.Series, table: pd.DataFrame, data: RunData) -> pd.Series | None:
    """Return full fine-tuning where it was trained; else the best other method on validation, of the baselines where
    the choice was found."""
    ceilings = _ceilings(table, data)
    if len(ceilings):
        return best_of(ceilings)
    others = table[table["method"] != chosen["method"]]
    if not chosen["params"]:
        return best_of(others) if len(others) else None
    other_side = others[others["family"] != chosen["family"]]
    return best_of(other_side) if len(other_side) else None


def _ceilings(table: pd.DataFrame, data: RunData) -> pd.DataFrame:
    """Return the baselines that are as large as the model."""
    return table[(table["family"] == "baseline") & ~table["method"].isin(usable(table, data)["method"])]


def _measure(data: RunData) -> str:
    return "quality" if data.several else data.config.metric


def _size(row: pd.Series) -> str:
    return f"{row['params']:,} adapter parameters" if row["params"] else "no adapter parameters"


def _share(chosen: pd.Series, rival: pd.Series) -> str:
    """Compare the sizes of two methods."""
    if not chosen["params"]:
        return f"none of its {rival['params']:,} parameters" if rival["params"] else "no parameters, as it"
    if not rival["params"]:
        return f"{chosen['params']:,} parameters, where it has none"
    share = chosen["params"] / rival["params"]
    return f"{share:.1f} times its parameters" if share > 1 else f"{100 * share:.2g} % of its parameters"


def _sure(chosen: pd.Series, rival: pd.Series, data: RunData) -> str:
    """Say whether the difference of two methods may be chance."""
    apart = _difference(chosen, rival, data)
    if apart is None:
        return "no test of chance was kept"
    verdict = "may be chance" if apart.may_be_chance else "is beyond chance"
    return f"the difference of {apart.value:+.3f} {verdict} (95 % {apart.low:+.3f} to {apart.high:+.3f})"


def _outcome(row: pd.Series, data: RunData) -> str:
    quality = f"{row['quality']:.3f} on test"
    if data.several:
        quality = f"{row['quality']:.3f} on test, mean of {len(data.tasks)} tasks, and {row['worst']:.3f} on the worst,"
    kept = "" if data.perturbed.empty else f" and retains {row['retained']:.1%} of it under perturbed input"
    return f"{quality} with {row['params']:,} adapter parameters ({row['params_percent']:.3f} % of the backbone){kept}"


def _rivals(found: pd.Series, candidates: pd.DataFrame) -> Iterator[tuple[pd.Series, str]]:
    """Yield the rivals of a found structure, and why."""
    baselines = candidates[candidates["family"] == "baseline"]
    if len(baselines):
        best = best_of(baselines)
        yield best, ", the baseline that is best on validation"
        candidates = candidates[candidates["method"] != best["method"]]
    for _, row in candidates[candidates["how"] == ALONE].iterrows():
        yield row, ""


def _difference(one: pd.Series, two: pd.Series, data: RunData) -> Difference | None:
    """Test two methods on the same texts; None where their predictions were not kept."""
    mine, theirs = (data.predictions_of(row["method"]) for row in (one, two))
    if not mine or not theirs:
        return None
    metrics = [task.metric for task in data.config.tasks]
    return difference([Pair(*both) for both in zip(mine, theirs, metrics, strict=True)])


def _beside(found: pd.Series, rival: pd.Series, which: str, data: RunData) -> str:
    """Compare a found structure with another method: by how much, and whether that may be chance."""
    apart = _difference(found, rival, data) or f"{found['quality'] - rival['quality']:+.3f}"
    ratio = f", {rival['params'] / found['params']:.1f} times as many" if rival["params"] > found["params"] > 0 else ""
    size = f"{rival['params']:,} parameters{ratio}"
    return f"Against {rival['name']}{which}, with {rival['quality']:.3f} and {size}: {apart}."


def _by_task(found: pd.Series, rivals: list[pd.Series], data: RunData) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "task": data.tasks,
            found["name"]: [f"{found[task]:.3f}" for task in data.tasks],
            "parameters used": [f"{found[f'own: {task}']:,}" for task in data.tasks],
            **{
                f"against {rival['name']}": [f"{found[task] - rival[task]:+.3f}" for task in data.tasks]
                for rival in rivals
            },
        }
    )
