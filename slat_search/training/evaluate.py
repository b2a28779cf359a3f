"""Logits of many texts, and their quality."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from .. import metrics
from ..models.classifier import task_loss
from ..models.task_model import TaskModel
from ..tasks import Encoded, Responses, evaluation_batches, join

_TIMED_TEXTS = 9  # whose median time is taken


@torch.inference_mode()
def predict_logits(model: TaskModel, data: Encoded, batch_size: int = 64) -> np.ndarray:
    """Return logits (texts, classes) in the order of ``data``, in evaluation mode; the mode is restored.

    Where a GPU's memory is full, it continues with half as many texts at a time.

    Raises:
        torch.OutOfMemoryError: a single text does not fit.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    logits = np.zeros((len(data), model.outputs), dtype=np.float32)
    for rows in evaluation_batches(data, batch_size):
        logits[rows] = _logits(model, data, rows)
    for module, training in modes:
        module.training = training
    return logits


def _logits(model: TaskModel, data: Encoded, rows: np.ndarray) -> np.ndarray:
    """Return logits (rows, classes) of one batch, computed in halves where it does not fit."""
    try:
        batch = {name: value.to(model.device) for name, value in data.batch(rows).items()}
        return model(batch).float().cpu().numpy()
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    torch.cuda.empty_cache()
    return np.concatenate([_logits(model, data, half) for half in np.array_split(rows, 2)])


def seconds_of_one(model: TaskModel, data: Encoded) -> float:
    """Return the seconds that a single text takes: the median over the first few texts."""
    times = []
    for row in range(min(_TIMED_TEXTS, len(data))):
        text = data.take(np.array([row]))
        start = time.perf_counter()
        predict_logits(model, text)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def predict_sets(model: TaskModel, sets: Sequence[Encoded]) -> list[np.ndarray]:
    """Return the logits (texts, classes) of each set; a text in several sets is computed once."""
    union, rows_by_set = join(sets)
    logits = predict_logits(model, union)
    return [logits[rows] for rows in rows_by_set]


def predicted(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the predicted classes (texts,) of logits (texts, classes), or numbers of (texts, 1) in a regression."""
    return logits[:, 0] if labels.dtype.kind == "f" else logits.argmax(axis=1)


def confidence(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the probability (texts,) of the predicted class; nan where ``labels`` are numbers."""
    if labels.dtype.kind == "f":
        return np.full(len(logits), np.nan, dtype=np.float32)
    return torch.from_numpy(logits).softmax(dim=1).amax(dim=1).numpy()


def quality(metric: str, labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the task's metric for logits (texts, outputs) against labels (texts,)."""
    return metrics.quality(metric, labels, predicted(labels, logits))


def loss(data: Encoded, logits: np.ndarray) -> float:
    """Return the training loss of logits (texts, outputs), see :func:`.task_loss`.

    For responses it is the cross-entropy per token, whose exponential is the perplexity. It shows differences that a
    metric on a few hundred texts cannot: one text more or less is 0.2 % of accuracy.
    """
    if isinstance(data, Responses):
        return float(-logits[:, 1].sum() / logits[:, 2].sum())
    return float(task_loss(torch.from_numpy(logits), torch.from_numpy(data.labels)))
