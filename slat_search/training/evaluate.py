"""Predictions and quality measures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from sklearn import metrics

from ..tasks import Encoded, evaluation_batches, join
from .classifier import TextClassifier, task_loss

_METRICS = {
    "accuracy": lambda y, p: metrics.accuracy_score(y, p),
    "macro_f1": lambda y, p: metrics.f1_score(y, p, average="macro"),
    "f1": lambda y, p: metrics.f1_score(y, p),
    "matthews": lambda y, p: metrics.matthews_corrcoef(y, p),
    "pearson": lambda y, p: stats.pearsonr(y, p).statistic,
    "spearman": lambda y, p: stats.spearmanr(y, p).statistic,
}


@torch.inference_mode()
def predict_logits(model: TextClassifier, data: Encoded, batch_size: int = 64) -> np.ndarray:
    """Logits (texts, classes) in the order of ``data``, in evaluation mode; the mode is put back."""
    device = next(model.parameters()).device
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    logits = np.zeros((len(data), model.head.out_features), dtype=np.float32)
    for rows in evaluation_batches(data, batch_size):
        batch = {name: value.to(device) for name, value in data.batch(rows).items()}
        logits[rows] = model(batch).float().cpu().numpy()
    for module, training in modes:
        module.training = training
    return logits


def predict_sets(model: TextClassifier, sets: Sequence[Encoded]) -> list[np.ndarray]:
    """Logits (texts, classes) of each set; a text that stands in several of them is computed once."""
    joint, places = join(sets)
    logits = predict_logits(model, joint)
    return [logits[rows] for rows in places]


def quality(metric: str, labels: np.ndarray, logits: np.ndarray) -> float:
    """The task's metric for logits (texts, outputs) against labels (texts,); a correlation with a constant is 0."""
    if labels.dtype.kind == "f":
        return float(_METRICS[metric](labels, logits[:, 0])) if np.ptp(logits) > 0 else 0.0
    return float(_METRICS[metric](labels, logits.argmax(axis=1)))


def majority_quality(metric: str, train: np.ndarray, test: np.ndarray) -> float:
    """The metric on ``test`` labels of always saying the most frequent ``train`` label; 0 in a regression."""
    if train.dtype.kind == "f":
        return 0.0
    top = np.bincount(train).argmax()
    return float(_METRICS[metric](test, np.full_like(test, top)))


def loss(labels: np.ndarray, logits: np.ndarray) -> float:
    """The training loss, see :func:`.task_loss`, of logits (texts, outputs) against labels (texts,).

    It tells apart what a metric on a few hundred texts cannot: one text more or less is 0.2 % of accuracy.
    """
    return float(task_loss(torch.from_numpy(logits), torch.from_numpy(labels)))
