"""The effect of perturbed input on each method: curves, retained quality, the worst case, calibration; with
intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import SlatError
from ..files import load_arrays
from ..metrics import calibration_error, quality
from ..records import Sets
from .statistics import draws_for, interval


def kinds_of(sets: Sets) -> list[str]:
    """Kinds of perturbation, in order."""
    return list(dict.fromkeys(kind for kind, ratio in sets if ratio > 0))


def places_of(sets: Sets, kind: str) -> list[int]:
    """Places of a kind's sets by ratio, the clean one first."""
    return [0, *sorted((i for i, (k, _) in enumerate(sets) if k == kind), key=lambda i: sets[i][1])]


def retained(sets: Sets, qualities: np.ndarray) -> np.ndarray:
    """Area under quality over ratio, divided by that without any loss; mean over kinds, (...).

    Args:
        sets: the clean one first.
        qualities: (..., sets).
    """
    shares = []
    for kind in kinds_of(sets):
        places = places_of(sets, kind)
        ratios = np.array([sets[i][1] for i in places])
        part = qualities[..., places]
        flat = part[..., 0] * (ratios[-1] - ratios[0])
        area = np.trapezoid(part, ratios, axis=-1)
        shares.append(np.divide(area, flat, out=np.zeros_like(area), where=flat > 0))
    return np.mean(shares, axis=0) if shares else np.ones(qualities.shape[:-1])


@dataclass(frozen=True)
class Predictions:
    """Predictions of one trained model for the test texts.

    Attributes:
        sets: (kind, ratio) of each set of texts; the first one is clean, ratio 0.
        labels: (texts,).
        outputs: (sets, texts), classes or numbers.
        confidence: (sets, texts), probability of the class; nan in a regression.
    """

    sets: Sets
    labels: np.ndarray
    outputs: np.ndarray
    confidence: np.ndarray

    @classmethod
    def read(cls, path: Path, sets: Sets, number: int = 0) -> Predictions:
        """Read what a test evaluation left beside its measures, of the task with this number.

        Raises:
            SlatError: missing or damaged.
        """
        arrays = load_arrays(path)
        # names of an earlier version have no number where there is one task
        prefix = "" if "labels" in arrays else f"{number}."
        names = [f"{prefix}{name}" for name in ("labels", "outputs", "confidence")]
        if missing := [name for name in names if name not in arrays]:
            raise SlatError(f"{path}: damaged ({missing[0]} is missing)")
        labels, outputs, confidence = (arrays[name] for name in names)
        shape = (len(sets), *labels.shape)
        if labels.ndim != 1 or not outputs.shape == confidence.shape == shape:
            raise SlatError(
                f"{path}: damaged (outputs have shape {outputs.shape}, not {len(sets)} sets of {len(labels)} texts)"
            )
        return cls(sets, labels, outputs, confidence)

    @property
    def clean(self) -> Predictions:
        """Return predictions on the clean texts."""
        return replace(self, sets=self.sets[:1], outputs=self.outputs[:1], confidence=self.confidence[:1])

    @cached_property
    def correct(self) -> np.ndarray:
        """(sets, texts) of bool."""
        return self.outputs == self.labels

    def quality(self, metric: str, rows: np.ndarray) -> np.ndarray:
        """Return the quality on each set, (sets,), over some ``rows`` (n,) of the texts."""
        if metric == "accuracy":
            return self.correct[:, rows].mean(axis=1)
        return np.array([quality(metric, self.labels[rows], outputs[rows]) for outputs in self.outputs])


@dataclass(frozen=True)
class Robustness:
    """One method's qualities on every set, as measured and in each draw of a bootstrap.

    A draw takes texts and seeds with replacement, the same texts for all sets, so that what the sets have in common
    does not blur what parts them.

    Attributes:
        sets: as in :class:`Predictions`.
        measured: (sets,), mean over seeds.
        drawn: (draws, sets).
    """

    sets: Sets
    measured: np.ndarray
    drawn: np.ndarray

    @classmethod
    def of(cls, seeds: Sequence[Predictions], metric: str, seed: int = 0) -> Robustness:
        """From the predictions of the same method trained with several seeds."""
        rng = np.random.default_rng(seed)
        texts = len(seeds[0].labels)
        everything = np.arange(texts)
        drawn = []
        for _ in range(draws_for(metric)):
            rows = rng.integers(texts, size=texts)
            drawn.append(
                np.mean([seeds[i].quality(metric, rows) for i in rng.integers(len(seeds), size=len(seeds))], 0)
            )
        measured = np.mean([p.quality(metric, everything) for p in seeds], axis=0)
        return cls(seeds[0].sets, measured, np.array(drawn))

    def curve(self, kind: str) -> pd.DataFrame:
        """``ratio quality low high`` of a kind, from the clean text on."""
        places = places_of(self.sets, kind)
        low, high = np.quantile(self.drawn[:, places], (0.025, 0.975), axis=0)
        ratios = [self.sets[i][1] for i in places]
        return pd.DataFrame({"ratio": ratios, "quality": self.measured[places], "low": low, "high": high})

    @property
    def worst(self) -> int:
        """Place of the set with the lowest quality."""
        return int(self.measured.argmin())

    @property
    def worst_at(self) -> str:
        """Return the kind and ratio at which quality is worst, in words."""
        kind, ratio = self.sets[self.worst]
        return f"{kind.replace('_', ' ')} {ratio:.0%}" if ratio else "clean"

    def summary(self) -> dict[str, float]:
        """Clean quality, what is retained and the worst case with 95 % intervals: ``quality quality_low ...``."""
        worst = self.worst
        found: dict[str, float] = {}
        for name, value, drawn in (
            ("quality", self.measured[0], self.drawn[:, 0]),
            ("retained", retained(self.sets, self.measured), retained(self.sets, self.drawn)),
            ("worst", self.measured[worst], self.drawn[:, worst]),
        ):
            low, high = interval(drawn)
            found |= {name: float(value), f"{name}_low": low, f"{name}_high": high}
        return found


def mean_of(tasks: Sequence[Robustness]) -> Robustness:
    """The mean over tasks with the same sets, in each draw too."""
    draws = min(len(found.drawn) for found in tasks)
    measured = np.mean([found.measured for found in tasks], axis=0)
    return Robustness(tasks[0].sets, measured, np.mean([found.drawn[:draws] for found in tasks], axis=0))


def table(predictions: dict[str, list[Predictions]], robustness: dict[str, Robustness]) -> pd.DataFrame:
    """One row a method: quality clean and at worst, what is retained, confidence and calibration error; by label.

    Confidence is the mean probability of the predicted class, clean and on the set with the worst quality.
    """
    rows = []
    for method, seeds in predictions.items():
        found = robustness[method]
        row: dict[str, Any] = {"method": method, **found.summary(), "worst_at": found.worst_at}
        for name, place in (("clean", 0), ("worst", found.worst)):
            row |= {f"{key}_{name}": value for key, value in _calibration(seeds, place).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _calibration(seeds: Sequence[Predictions], place: int) -> dict[str, float]:
    """Mean confidence and expected calibration error on one set, mean over seeds; nan in a regression."""
    if any(np.isnan(p.confidence[place]).any() for p in seeds):
        return {"confidence": np.nan, "calibration_error": np.nan}
    errors = [calibration_error(p.correct[place], p.confidence[place]) for p in seeds]
    return {
        "confidence": float(np.mean([p.confidence[place] for p in seeds])),
        "calibration_error": float(np.mean(errors)),
    }
