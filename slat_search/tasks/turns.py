"""The order in which several tasks take turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def shares(sizes: Sequence[int], sampling: str, temperature: float = 1.0) -> np.ndarray:
    """Return the share of the batches that each task gets, (tasks,); shares sum to 1.

    Args:
        sizes: number of training texts of each task.
        sampling: ``uniform``; ``proportional`` to sizes; or ``temperature``, proportional to ``size ** (1 / T)``, which
            lies between them (Arivazhagan et al. 2019, arXiv 1907.05019).
        temperature: T, at least 1.
    """
    power = {"uniform": 0.0, "proportional": 1.0, "temperature": 1 / temperature}[sampling]
    weights = np.asarray(sizes, dtype=float) ** power
    return weights / weights.sum()


def turns(share: np.ndarray) -> Iterator[int]:
    """Yield task numbers forever: each time the task furthest behind its ``share`` (tasks,), the first of equals.

    So after ``n`` turns every task has had its share of them to within one; random draws would only add noise.
    """
    deficits = np.zeros(len(share))
    while True:
        deficits += share
        task = int(np.argmax(np.round(deficits, 9)))
        deficits[task] -= 1
        yield task
