"""Record of the mistakes of a run's recommended method on test, limited in size."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from .base import FileRecord, Record

#: most texts, and most classes with scores and in a matrix
MOST_TEXTS = MOST_CLASSES = 20
#: most stored letters of a text
MOST_LETTERS = 300


class ClassScores(Record):
    """Scores of one class.

    Attributes:
        texts: number of texts with this label.
    """

    label: str
    texts: int
    precision: float
    recall: float
    f1: float


class WrongText(Record):
    """A text that a model gets wrong.

    Attributes:
        texts: its columns, each cut to :data:`MOST_LETTERS`.
        label, predicted: names of classes, or numbers.
        confidence: probability of the predicted class; None in a regression.
    """

    texts: tuple[str, ...] = Field(max_length=16)
    label: str
    predicted: str
    confidence: float | None


class TaskMistakes(Record):
    """Mistakes of a model on the clean test texts of one task.

    Attributes:
        seed: of the training whose weights are stored as the adapter.
        tested: number of texts.
        wrong: number of wrong ones, in a classification; None in a regression.
        total: number of classes of the task; 0 in a regression.
        classes: scores of the classes with the most mistakes, in the order of the labels.
        confusion: rows are labels, columns predicted classes, in the order of ``classes``; where the task has more
            classes, the last row and column are all others.
        texts: the wrong ones in which the model is most confident, or the largest residuals of a regression.
    """

    seed: int
    tested: int
    wrong: int | None
    total: int
    classes: tuple[ClassScores, ...] = Field(max_length=MOST_CLASSES)
    confusion: tuple[tuple[int, ...], ...] = Field(max_length=MOST_CLASSES + 1)
    texts: tuple[WrongText, ...] = Field((), max_length=MOST_TEXTS)


class Mistakes(FileRecord):
    """Mistakes of the recommended method on test, ``mistakes.json``.

    Attributes:
        method: its label.
        tasks: by name.
    """

    VERSION: ClassVar[int] = 1

    method: str
    tasks: dict[str, TaskMistakes]
