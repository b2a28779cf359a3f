"""The one test of whether two methods differ: on the same test texts, with the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .robustness import Predictions
from .statistics import draws_for, interval


@dataclass(frozen=True)
class Difference:
    """Quality of one method minus that of another.

    Attributes:
        value: of the means over seeds, and over tasks.
        low, high: bounds of its 95 % bootstrap interval.
        p: two-sided, of the same bootstrap.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def may_be_chance(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0 <= self.high

    @property
    def bounds(self) -> str:
        """The interval, and what follows from it."""
        verdict = "may be chance" if self.may_be_chance else "beyond chance"
        return f"95 % {self.low:+.3f} to {self.high:+.3f}, {verdict}"

    def __str__(self) -> str:
        return f"{self.value:+.3f} ({self.bounds})"


@dataclass(frozen=True)
class Pair:
    """Predictions of two methods for the test texts of one task, a model a seed."""

    one: Sequence[Predictions]
    two: Sequence[Predictions]
    metric: str


def difference(pairs: Sequence[Pair], seed: int = 0) -> Difference:
    """The mean over tasks, one pair each.

    A draw takes texts and seeds of each task with replacement: the same texts for both methods and, where they have as
    many, the same seeds, which train on the same batches. With the methods exchanged the result is the same with the
    other sign.
    """
    draws = min(draws_for(pair.metric) for pair in pairs)
    value = float(np.mean([_value(pair) for pair in pairs]))
    drawn = np.mean([_drawn(pair, draws, [seed, number]) for number, pair in enumerate(pairs)], axis=0)
    low, high = interval(drawn)
    beyond = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Difference(value, low, high, p=float(min(1.0, 2 * (beyond + 1) / (draws + 1))))


def _value(pair: Pair) -> float:
    everything = np.arange(len(pair.one[0].labels))
    one, two = (np.mean([p.clean.quality(pair.metric, everything)[0] for p in said]) for said in (pair.one, pair.two))
    return float(one - two)


def _drawn(pair: Pair, draws: int, seed: list[int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    one, two = ([p.clean for p in said] for said in (pair.one, pair.two))
    texts = len(one[0].labels)
    found = np.empty(draws)
    for draw in range(draws):
        rows = rng.integers(texts, size=texts)
        shares = rng.random(max(len(one), len(two)))  # for both: exchanging them changes the sign alone
        mine, theirs = ((shares[: len(said)] * len(said)).astype(int) for said in (one, two))
        means = [
            np.mean([method[i].quality(pair.metric, rows)[0] for i in seeds])
            for method, seeds in ((one, mine), (two, theirs))
        ]
        found[draw] = means[0] - means[1]
    return found
