"""Measures of quality: labels and predictions in, a number out. scikit-learn and SciPy compute them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import scipy

from .errors import SlatError
from .plugins import Registry

Measure = Callable[[np.ndarray, np.ndarray], float]


def _scores() -> ModuleType:
    """Import scikit-learn's metrics on first use, as the import takes half a second."""
    from sklearn import metrics

    return metrics


_OWN: dict[str, Measure] = {
    "accuracy": lambda y, p: _scores().accuracy_score(y, p),
    "f1": lambda y, p: _scores().f1_score(y, p, zero_division=0),
    "macro_f1": lambda y, p: _scores().f1_score(y, p, average="macro", zero_division=0),
    "matthews": lambda y, p: _scores().matthews_corrcoef(y, p),
    "pearson": lambda y, p: scipy.stats.pearsonr(y, p).statistic if _vary(y, p) else 0.0,
    **dict.fromkeys(("token_accuracy", "exact_match", "rouge_l"), lambda y, p: float(np.mean(p))),  # of each response
    "spearman": lambda y, p: scipy.stats.spearmanr(y, p).statistic if _vary(y, p) else 0.0,
}
#: A metric of another package is an entry point of this group that names such a function, larger values for better
#: predictions; an attribute ``of_numbers`` says that labels are numbers.
METRICS: Registry[Measure] = Registry("slat_search.metrics", Callable, _OWN)  # type: ignore[arg-type]


def quality(metric: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    """A key of ``METRICS`` on classes (n,), or on the numbers (n,) of a regression. Of responses ``predictions`` are
    their qualities, of which the mean is taken.

    ``f1`` is that of class 1, where :func:`.load_task` puts the positive label. A correlation with a constant is 0.

    Raises:
        SlatError: a metric that no installed package has.
    """
    if metric not in METRICS:
        raise SlatError(f"metric {metric}: the package that adds it is not installed here")
    return float(METRICS[metric](labels, predictions))


def majority_quality(metric: str, train: np.ndarray, test: np.ndarray) -> float:
    """Quality on ``test`` of always predicting the most frequent ``train`` label; 0 in a regression."""
    if train.dtype.kind == "f":
        return 0.0
    return quality(metric, test, np.full_like(test, np.bincount(train).argmax()))


def calibration_error(correct: np.ndarray, confidence: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1: the gap between confidence and accuracy, a mean over bins of equal width by
    how many predictions lie in them. Source: Guo et al. 2017 (arXiv 1706.04599), equation 5.

    Args:
        correct: (n,) whether each prediction is right.
        confidence: (n,) its probability.
    """
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    gaps = np.bincount(place, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(correct))


def _vary(*values: np.ndarray) -> bool:
    return all(np.ptp(value) > 0 for value in values)
