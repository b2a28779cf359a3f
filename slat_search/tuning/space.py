"""What trials sample from, and the points of it that are given beforehand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import qmc

from ..config import Config
from ..config.search import Range
from ..config.supernet import MEASURED
from ..errors import SlatError
from ..training.static import layer_bit, sizes

Distribution: TypeAlias = FloatDistribution | CategoricalDistribution
Space = Mapping[str, Distribution]
Point = dict[str, Any]


def _ranges(config: Config, backbone: int) -> dict[str, Range]:
    space = config.search.space
    if config.search.method == "static":
        return {"learning_rate": space.learning_rate, "noise_ratio": space.noise_ratio}
    return {
        **({"budget": space.budget.in_parameters(backbone)} if space.budget else {"sparsity": space.sparsity}),
        "learning_rate": space.learning_rate,
        **({} if config.gates.kind in MEASURED else {"gate_learning_rate": space.gate_learning_rate}),
        **({"sharing": space.sharing} if config.tasks else {}),
        "noise_ratio": space.noise_ratio,
    }


def _choices(config: Config, layers: int) -> dict[str, list[Any]]:
    noise = {"noise_kind": list(config.search.space.noise_kind)}
    if config.search.method == "static":
        return {**{layer_bit(layer): [1, 0] for layer in range(layers)}, **sizes(config), **noise}
    return {"kinds": list(config.kind_sets), **noise}


def search_space(config: Config, backbone: int, layers: int = 0) -> dict[str, Distribution]:
    """What a trial samples, by name, for a frozen model of ``backbone`` parameters in so many ``layers``."""
    return {
        **{
            name: FloatDistribution(value.low, value.high, log=value.log)
            for name, value in _ranges(config, backbone).items()
        },
        **{name: CategoricalDistribution(choices) for name, choices in _choices(config, layers).items()},
    }


def given_points(config: Config, backbone: int, layers: int = 0) -> list[Point]:
    """What the first trials take: the points of the configuration, or all of a sampler that plans them.

    A grid comes in an order that follows from the seed, so that the first trials of a long one are no corner of it.

    Raises:
        SlatError: a point names what is not sampled, or lies outside of the space.
    """
    space, trials = search_space(config, backbone, layers), config.search.trials
    if config.search.sampler == "grid":
        axes: dict[str, list[Any]] = {name: _values(value) for name, value in _ranges(config, backbone).items()}
        axes |= _choices(config, layers)
        points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        random.Random(config.seed).shuffle(points)
        return points[:trials]
    if config.search.sampler == "sobol":
        return _sobol(space, trials, config.seed)
    for place, point in enumerate(config.search.points):
        _check(f"search.points.{place}", point, space)
    return [dict(point) for point in config.search.points[:trials]]


def planned_trials(config: Config, points: Sequence[Point]) -> int:
    """How many trials a search has: a grid may be smaller than what is asked for."""
    return len(points) if config.search.sampler == "grid" else config.search.trials


def contains(space: Space, sampled: Mapping[str, Any]) -> bool:
    """Whether a trial that sampled so could be one of this space."""
    return set(sampled) == set(space) and all(_holds(space[name], value) for name, value in sampled.items())


def _sobol(space: Space, trials: int, seed: int) -> list[Point]:
    """The first points of a scrambled Sobol sequence (Owen 1998) over the whole space."""
    power = max(0, math.ceil(math.log2(trials)))  # the sequence is balanced at powers of two
    unit = qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng(seed)).random_base2(power)[:trials]
    return [dict(zip(space, map(_at, space.values(), row.tolist()), strict=True)) for row in unit]


def _at(distribution: Distribution, share: float) -> Any:
    """The value at ``share``, 0 to 1, of a range or of a list of choices."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    low, high = distribution.low, distribution.high
    return low * (high / low) ** share if distribution.log else low + (high - low) * share


def _values(value: Range) -> list[float]:
    if value.low == value.high:
        return [value.low]
    if value.points == 1:
        return [(value.low * value.high) ** 0.5 if value.log else (value.low + value.high) / 2]
    spaced = np.geomspace if value.log else np.linspace
    inner = [float(v) for v in spaced(value.low, value.high, value.points)[1:-1]]
    return [value.low, *inner, value.high]  # the ends as they are, whatever rounding makes of them


def _holds(distribution: Distribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def _check(where: str, point: Point, space: Space) -> None:
    for name, value in point.items():
        if name not in space:
            raise SlatError(f"{where}: {name} is not sampled here; sampled are {', '.join(space)}")
        if not _holds(space[name], value):
            distribution = space[name]
            allowed = (
                ", ".join(map(str, distribution.choices))
                if isinstance(distribution, CategoricalDistribution)
                else f"{distribution.low:g} to {distribution.high:g}"
            )
            raise SlatError(f"{where}.{name}: {value!r} is outside of the search space ({allowed})")
