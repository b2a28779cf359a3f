"""Sections on the Ray Tune search: what a trial samples, when it is stopped, and how results are used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from .duration import Duration
from .section import Fraction, Positive, Section

NoiseKind = Literal["none", "mask", "replace", "drop", "label", "embedding", "mixed"]
Objective = Literal["quality", "params", "quality_perturbed", "quality_worst"]
SamplerName = Literal["tpe", "nsga2", "nsga3", "gp", "sobol", "random", "grid"]
#: samplers that learn from trials of other runs
LEARNING: tuple[SamplerName, ...] = ("tpe", "gp")
#: samplers whose trials are all fixed before the first one runs
PLANNED: tuple[SamplerName, ...] = ("sobol", "grid")


class Range(Section):
    """A range to sample from; `low` = `high` fixes the value."""

    low: float = Field(description="smallest value")
    high: float = Field(description="largest value")
    log: bool = Field(False, description="sample on a logarithmic scale")
    points: int = Field(3, ge=1, description="values that the grid sampler takes, both ends among them")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 on a logarithmic scale")
        return self


class LogRange(Range):
    """A range that is sampled on a logarithmic scale."""

    log: bool = Field(True, description="sample on a logarithmic scale")


class BudgetRange(LogRange):
    """How many adapter parameters to end at."""

    unit: Literal["parameters", "percent"] = Field("parameters", description="`percent` counts from the frozen model's")

    def in_parameters(self, backbone: int) -> LogRange:
        """Return the range in parameters, for a frozen model of ``backbone`` parameters."""
        factor = backbone / 100 if self.unit == "percent" else 1.0
        return LogRange(low=self.low * factor, high=self.high * factor, log=self.log, points=self.points)


#: in ``Sampled.kinds``: every candidate kind of the space
ALL_KINDS = "all"
#: default sets to sample from: all kinds, and spectral entries alone
_KIND_SETS = (ALL_KINDS, "spectral")


class Sampled(Section):
    """Settings that each trial samples."""

    sparsity: LogRange = Field(
        LogRange(low=0.3, high=30),
        description="worth per parameter that an atom needs, in multiples of the average over the space, so that the "
        "range means the same sizes on every task; for trained gates the weight of the cost of open atoms in the loss",
    )
    budget: BudgetRange | None = Field(
        None, description="size to end at; when given, it is sampled and held, and sparsity is not used"
    )
    learning_rate: LogRange = Field(
        LogRange(low=5e-4, high=5e-3), description="of the modules' weights, for the whole space; see `gates.lr_growth`"
    )
    gate_learning_rate: LogRange = Field(LogRange(low=0.03, high=0.3), description="of trained gates")
    kinds: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="candidate kinds, a set a trial: `all` of the space, or some of them joined by `+`; "
        "by default `all` and `spectral`, as far as the space has them",
    )
    sharing: Range = Field(
        Range(low=0, high=1),
        description="where several tasks share a pool: what each further user of an atom pays of it; at 0 it is paid "
        "once, at 1 each user pays as if it were alone, above 1 overlap is discouraged",
    )
    noise_kind: tuple[NoiseKind, ...] = Field(
        ("none", "mask", "replace", "drop", "embedding", "label", "mixed"),
        min_length=1,
        description="noise in training, one a trial",
    )
    noise_ratio: Range = Field(Range(low=0, high=0.3), description="share of tokens or labels, or size on embeddings")

    def kind_sets(self, space_kinds: Collection[str]) -> tuple[str, ...]:
        """Return the sets of kinds to sample from, in a space that has ``space_kinds``.

        Raises:
            ValueError: a set names a kind that the space does not have.
        """
        for kind_set in self.kinds or ():
            if kind_set != ALL_KINDS and not set(kind_set.split("+")) <= set(space_kinds):
                raise ValueError(
                    f"search.space.kinds: {kind_set!r} is neither all nor some of {', '.join(space_kinds)}"
                )
        if self.kinds is not None:
            return self.kinds
        sets: dict[frozenset[str], str] = {}
        for kind_set in _KIND_SETS:
            kinds = (
                [*space_kinds]
                if kind_set == ALL_KINDS
                else [kind for kind in kind_set.split("+") if kind in space_kinds]
            )
            if kinds:
                sets.setdefault(frozenset(kinds), kind_set if kind_set == ALL_KINDS else "+".join(kinds))
        return tuple(sets.values())


class Scheduler(Section):
    """Early stopping of weak trials (asynchronous successive halving)."""

    name: Literal["asha", "none"] = Field("asha", description="`none` lets every trial finish")
    objectives: tuple[Objective, ...] = Field(
        ("quality", "params", "quality_perturbed"),
        min_length=1,
        description="one: plain ASHA on it; several: ranks by non-dominated sorting; with several tasks `quality` is "
        "their mean, and `quality_worst` that of the worst",
    )
    reduction_factor: float = Field(2.0, gt=1, description="one in so many trials passes a rung")
    rungs: tuple[Fraction, ...] = Field(
        (0.3, 0.6), min_length=1, description="shares of the steps at which trials are compared"
    )

    @model_validator(mode="after")
    def _check_rungs(self) -> Scheduler:
        if list(self.rungs) != sorted(set(self.rungs)) or not self.rungs[0] > 0 or self.rungs[-1] >= 1:
            raise ValueError("rungs must increase and lie between 0 and 1")
        return self


class Search(Section):
    """The Ray Tune search."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "points": "initial_points",
        "earlier": "warm_start",
        "members": "num_selected",
        "weights": "final_weights",
    }
    OLD_VALUES: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "final_weights": {"fresh": "retrained", "own": "inherited"}
    }

    method: Literal["gates", "static"] = Field(
        "gates",
        description="`gates`: each trial is a differentiable search. `static`: each trains one sampled structure "
        "(blocks on or off, a size for each kind), as AutoPEFT does; its sizes end at those of `space.kinds`",
    )

    trials: int = Field(16, ge=1, description="structure searches to run")
    time_limit: Duration | None = Field(
        None,
        description="time of the search, such as `30m` or `2h`: no further trial begins that would not end in it, and "
        "the comparison follows; the first trial always runs. Default: none",
    )
    sampler: SamplerName = Field(
        "tpe",
        description="Optuna's multi-objective TPE, NSGA-II, NSGA-III, Gaussian process or random; the points of a "
        "scrambled Sobol sequence; or a shuffled grid of `points` values a range",
    )
    space: Sampled = Sampled()
    initial_points: tuple[dict[str, float | str], ...] = Field(
        (), description="values to try first, by name; those that a point leaves out are sampled"
    )
    warm_start: tuple[Path, ...] = Field(
        (),
        description="folders of earlier runs that trained the same way; the sampler (tpe, gp) learns from their trials",
    )
    scheduler: Scheduler = Scheduler()
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        ("tensorboard",),
        description="where reports of trials go beside the run folder; mlflow and wandb read their own environment "
        "variables (MLFLOW_TRACKING_URI, WANDB_API_KEY)",
    )
    num_selected: int = Field(3, ge=1, description="members of the Pareto set that go on to the comparison")
    final_weights: tuple[Literal["retrained", "inherited"], ...] = Field(
        ("retrained",),
        min_length=1,
        description="how members get their final weights. `retrained`: the structure is trained again as a hand-made "
        "one is. `inherited`: each seed searches again, held at the member's size, and keeps the weights of the "
        "search; its structures may differ from seed to seed",
    )
    refit_learning_rates: tuple[Positive, ...] = Field(
        (3e-3, 1e-2, 3e-2), min_length=1, description="values to choose from when a found structure is trained again"
    )
    tolerance: float = Field(
        0.01,
        ge=0,
        description="recommend the smallest method, hand-made or found, within this of the best validation quality",
    )

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        if len(set(self.final_weights)) < len(self.final_weights):
            raise ValueError("final_weights: one of them stands there twice")
        if self.method == "static" and "inherited" in self.final_weights:
            raise ValueError(
                "final_weights: a static search finds structures without training them; only retrained is possible"
            )
        if self.sampler in PLANNED and self.initial_points:
            raise ValueError(f"sampler {self.sampler} tries points of its own and no others; leave out initial_points")
        if self.warm_start and self.sampler not in LEARNING:
            raise ValueError(f"sampler {self.sampler} learns nothing from earlier runs; {' or '.join(LEARNING)} does")
        return self
