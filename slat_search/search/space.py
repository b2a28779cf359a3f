"""The search space, and its points that are tried first."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import scipy
from optuna.distributions import CategoricalDistribution, FloatDistribution

from ..config import Config
from ..config.search import Range
from ..errors import SlatError
from ..structure.gate_kinds import GATE_KINDS
from ..training.context import Context
from ..training.sampled_structure import layer_bit, sizes

Distribution: TypeAlias = FloatDistribution | CategoricalDistribution
Point = dict[str, Any]
_Axis: TypeAlias = Range | list[Any]


@dataclass(frozen=True)
class SearchSpace:
    """The space that a search samples from, and its first points.

    Attributes:
        distributions: name -> range or choices.
        points: values of the first trials: points of the configuration, or all points of a sampler that plans them.
        trials: number of trials of the search; a grid may have fewer than the configuration asks for.
    """

    distributions: dict[str, Distribution]
    points: tuple[Point, ...]
    trials: int

    @classmethod
    def of(cls, config: Config, backbone: int, layers: int = 0) -> Self:
        """Return the space of a configuration, for a frozen model of ``backbone`` parameters and ``layers`` blocks.

        Raises:
            SlatError: a point has an unknown name, or lies outside of the space.
        """
        search, axes = config.search, {**_ranges(config, backbone), **_choices(config, layers)}
        distributions = {name: _distribution(axis) for name, axis in axes.items()}
        if search.sampler == "grid":
            points = _grid(axes, config.seed)[: search.trials]
            return cls(distributions, tuple(points), len(points))
        if search.sampler == "sobol":
            return cls(distributions, tuple(_sobol(distributions, search.trials, config.seed)), search.trials)
        for number, point in enumerate(search.initial_points):
            _check(f"search.initial_points.{number}", point, distributions)
        points = [_with_listed_choices(point, distributions) for point in search.initial_points[: search.trials]]
        return cls(distributions, tuple(points), search.trials)

    @classmethod
    def in_context(cls, context: Context) -> Self:
        """Return the space of a run whose model is loaded; raises as :meth:`of` does."""
        return cls.of(context.config, context.backbone_params, context.layers)

    def sample(self, seed: int) -> Point:
        """Return a random point."""
        generator = random.Random(seed)
        return {name: _value_at(distribution, generator.random()) for name, distribution in self.distributions.items()}

    def holds(self, sampled: Mapping[str, Any]) -> bool:
        """Whether a sampled point lies in this space."""
        return sampled.keys() == self.distributions.keys() and all(
            _holds(self.distributions[name], value) for name, value in sampled.items()
        )


def _ranges(config: Config, backbone: int) -> dict[str, _Axis]:
    space = config.search.space
    if config.search.method == "static":
        return {"learning_rate": space.learning_rate, "noise_ratio": space.noise_ratio}
    return {
        **({"budget": space.budget.in_parameters(backbone)} if space.budget else {"sparsity": space.sparsity}),
        "learning_rate": space.learning_rate,
        **({} if GATE_KINDS[config.gates.kind].measured else {"gate_learning_rate": space.gate_learning_rate}),
        **({"sharing": space.sharing} if config.tasks else {}),
        "noise_ratio": space.noise_ratio,
    }


def _choices(config: Config, layers: int) -> dict[str, _Axis]:
    noise: dict[str, _Axis] = {"noise_kind": list(config.search.space.noise_kind)}
    if config.search.method == "static":
        return {**{layer_bit(layer): [1, 0] for layer in range(layers)}, **sizes(config), **noise}
    return {"kinds": list(config.kind_sets), **noise}


def _distribution(axis: _Axis) -> Distribution:
    if isinstance(axis, Range):
        return FloatDistribution(axis.low, axis.high, log=axis.log)
    return CategoricalDistribution(axis)


def _grid(axes: Mapping[str, _Axis], seed: int) -> list[Point]:
    """Return every point once, shuffled by the seed, so that the first trials of a large grid cover all of it."""
    values = [_values(axis) if isinstance(axis, Range) else axis for axis in axes.values()]
    points = [dict(zip(axes, point, strict=True)) for point in itertools.product(*values)]
    random.Random(seed).shuffle(points)
    return points


def _sobol(space: Mapping[str, Distribution], trials: int, seed: int) -> list[Point]:
    """Return the first points of a scrambled Sobol sequence (Owen 1998) over the whole space."""
    power = max(0, math.ceil(math.log2(trials)))  # the sequence is balanced at powers of two
    rows = scipy.stats.qmc.Sobol(len(space), scramble=True, rng=np.random.default_rng(seed)).random_base2(power)
    return [dict(zip(space, map(_value_at, space.values(), row.tolist()), strict=True)) for row in rows[:trials]]


def _value_at(distribution: Distribution, fraction: float) -> Any:
    """Return the value at ``fraction``, 0 to 1, of a range or of a list of choices."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(fraction * len(distribution.choices)), len(distribution.choices) - 1)]
    low, high = distribution.low, distribution.high
    return low * (high / low) ** fraction if distribution.log else low + (high - low) * fraction


def _values(axis: Range) -> list[float]:
    if axis.low == axis.high:
        return [axis.low]
    if axis.points == 1:
        return [(axis.low * axis.high) ** 0.5 if axis.log else (axis.low + axis.high) / 2]
    spacing = np.geomspace if axis.log else np.linspace
    inner = [float(v) for v in spacing(axis.low, axis.high, axis.points)[1:-1]]
    return [axis.low, *inner, axis.high]  # the exact ends, without rounding


def _holds(distribution: Distribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high


def _with_listed_choices(point: Point, space: Mapping[str, Distribution]) -> Point:
    """Return a point with choices of the type in the space: YAML reads 4 as 4.0 where numbers may have fractions."""
    choices = {name: axis.choices for name, axis in space.items() if isinstance(axis, CategoricalDistribution)}
    return {
        name: choices[name][choices[name].index(value)] if name in choices else value for name, value in point.items()
    }


def _check(where: str, point: Point, space: Mapping[str, Distribution]) -> None:
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
