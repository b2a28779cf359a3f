"""What the recommended method gets wrong on test: scores of each class, confusions, and the texts themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..config.task import RESPONSE
from ..records import (
    MOST_CLASSES,
    MOST_LETTERS,
    MOST_TEXTS,
    POOLED,
    ClassScores,
    Mistakes,
    TaskFacts,
    TaskMistakes,
    WrongText,
)
from ..run_folder import RunFolder
from .choice import recommended
from .data import RunData
from .robustness import Predictions
from .tables import usable

FILE = "mistakes.json"
_OTHERS = "others"


@dataclass(frozen=True)
class TestTexts:
    """Test texts of one task as they were given.

    Attributes:
        texts: columns of each row.
        scale: mean and standard deviation of the labels of a regression.
    """

    __test__ = False  # no test, whatever pytest takes it for

    texts: Sequence[tuple[str, ...]]
    scale: tuple[float, float] = (0.0, 1.0)


def write_mistakes(run: RunFolder, table: pd.DataFrame, data: RunData, texts: Mapping[str, TestTexts]) -> None:
    """Write ``mistakes.json`` of what a run recommends."""
    if found := mistakes_of(table, data, texts):
        found.write(run / FILE)


def read_mistakes(run: RunFolder, table: pd.DataFrame, data: RunData) -> Mistakes | None:
    """Return what was kept of the method that a run recommends; else what follows from its predictions, without texts;
    None where there is neither.

    Raises:
        SlatError: damaged.
    """
    best = recommended(usable(table, data), data.config.tolerance)
    if best is not None and (run / FILE).is_file():
        kept = Mistakes.read(run / FILE)
        if kept.method == best["method"]:
            return kept
    return mistakes_of(table, data, {})


def mistakes_of(table: pd.DataFrame, data: RunData, texts: Mapping[str, TestTexts]) -> Mistakes | None:
    """Return what the recommended method gets wrong, as far as predictions and texts are there."""
    best = recommended(usable(table, data), data.config.tolerance)
    if best is None:
        return None
    tasks = {}
    for config, facts in zip(data.config.tasks, data.environment.tasks, strict=True):
        rows = data.results[(data.results["method"] == best["method"]) & (data.results["task"] == facts.name)]
        is_regression = not facts.labels  # responses have none either, and nothing is told of them
        said = data.predictions.get(facts.name, {}).get(best["method"], [])
        if not said or config.metric in RESPONSE or (is_regression and facts.name not in texts):
            continue
        place = _best_seed(data.results, rows)
        seed = int(rows["seed"].iloc[place])
        if is_regression:
            tasks[facts.name] = _residuals(said[place], texts[facts.name], seed)
        else:
            tasks[facts.name] = _confusions(said[place], facts, texts.get(facts.name), seed)
    return Mistakes(method=best["method"], tasks=tasks) if tasks else None


def _best_seed(results: pd.DataFrame, rows: pd.DataFrame) -> int:
    """Return the place of the seed that is best on validation, over all tasks where they trained together."""
    judged = results[results["method"] == rows["method"].iloc[0]] if rows["how"].iloc[0] == POOLED else rows
    means = judged.groupby("seed", sort=False)["validation"].mean()
    return rows["seed"].to_list().index(means.idxmax())


def _confusions(said: Predictions, facts: TaskFacts, given: TestTexts | None, seed: int) -> TaskMistakes:
    labels, outputs, count = said.labels.astype(int), said.outputs[0].astype(int), len(facts.labels)
    matrix = np.zeros((count, count), dtype=int)
    np.add.at(matrix, (labels, outputs), 1)
    hits, of_label, of_class = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    shown = np.sort(np.argsort(hits - of_label, kind="stable")[:MOST_CLASSES])
    scores = [
        ClassScores(
            label=facts.labels[i],
            texts=int(of_label[i]),
            precision=_ratio(hits[i], of_class[i]),
            recall=_ratio(hits[i], of_label[i]),
            f1=_ratio(2 * hits[i], of_label[i] + of_class[i]),
        )
        for i in shown
    ]
    wrong = np.flatnonzero(labels != outputs)
    surest = wrong[np.argsort(-said.confidence[0][wrong], kind="stable")][:MOST_TEXTS]
    texts = [
        WrongText(
            texts=_cut(given.texts[i]),
            label=facts.labels[labels[i]],
            predicted=facts.labels[outputs[i]],
            confidence=round(float(said.confidence[0][i]), 4),
        )
        for i in (surest if given is not None else ())
        if given is not None
    ]
    confusion = tuple(tuple(row) for row in _merged(matrix, shown).tolist())
    return TaskMistakes(
        seed=seed, tested=len(labels), wrong=len(wrong), total=count, classes=tuple(scores), confusion=confusion,
        texts=tuple(texts),
    )  # fmt: skip


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0


def _merged(matrix: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the rows and columns that are shown, and the sums of the others at their end, where there are some."""
    if len(shown) == len(matrix):
        return matrix
    others = np.setdiff1d(np.arange(len(matrix)), shown)
    groups = [[i] for i in shown] + [others]
    return np.array([[matrix[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])


def _residuals(said: Predictions, given: TestTexts, seed: int) -> TaskMistakes:
    mean, deviation = given.scale
    labels, outputs = (values.astype(float) * deviation + mean for values in (said.labels, said.outputs[0]))
    largest = np.argsort(-np.abs(outputs - labels), kind="stable")[:MOST_TEXTS]
    texts = [
        WrongText(texts=_cut(given.texts[i]), label=f"{labels[i]:.4g}", predicted=f"{outputs[i]:.4g}", confidence=None)
        for i in largest
    ]
    return TaskMistakes(
        seed=seed, tested=len(labels), wrong=None, total=0, classes=(), confusion=(), texts=tuple(texts)
    )


def _cut(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…" for text in texts)


def shown(mistakes: Mistakes, name: str) -> dict[str, Any]:
    """Return the variables of ``_mistakes.html.j2``.

    Args:
        name: of the method, in tables.
    """
    return {"name": name, "tasks": [_task_shown(task, found) for task, found in mistakes.tasks.items()]}


def _task_shown(task: str, found: TaskMistakes) -> dict[str, Any]:
    labels = [score.label for score in found.classes]
    labels += [_OTHERS] if len(found.confusion) > len(labels) else []
    if found.wrong is None:
        summary = f"{found.tested:,} test texts."
        title = f"The {len(found.texts)} texts with the largest residuals"
    else:
        summary = f"{found.wrong:,} of {found.tested:,} test texts are wrong ({_ratio(found.wrong, found.tested):.1%})."
        if found.total > len(found.classes):
            summary += f" Shown are the {len(found.classes)} of {found.total} classes with the most mistakes."
        count = f"{len(found.texts)} of the {found.wrong:,}" if found.wrong > len(found.texts) else f"{found.wrong:,}"
        title = f"The {count} wrong texts, those first in which the model is most confident"
    sure = [] if found.wrong is None else ["confidence"]
    return {
        "task": task,
        "summary": summary,
        "classes": [
            (s.label, f"{s.texts:,}", *(f"{v:.3f}" for v in (s.precision, s.recall, s.f1))) for s in found.classes
        ],
        "matrix": {"labels": labels, "rows": [_cells(row) for row in found.confusion]} if labels else None,
        "texts_title": title,
        "columns": ["text", "label", "predicted", *sure],
        "texts": [
            (
                " | ".join(one.texts),
                one.label,
                one.predicted,
                *([f"{one.confidence:.2f}"] if one.confidence is not None else sure and ["-"]),
            )
            for one in found.texts
        ],
    }


def _cells(row: Sequence[int]) -> list[dict[str, str]]:
    return [{"count": f"{count:,}" if count else "", "share": f"{100 * _ratio(count, sum(row)):.0f}"} for count in row]
