"""Section on the sensitivity studies."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from .search import NoiseKind
from .section import Fraction, Positive, Section

#: name of the search in the studies' tables
SEARCHED = "SLAT"

Weight = Annotated[float, Field(ge=0)]


class Sensitivity(Section):
    """The studies of `slat sensitivity`: one thing changes, the rest is held."""

    weights: tuple[Weight, ...] = Field(
        (0, 0.1, 0.5, 1, 2, 5), min_length=1, description="sparsity weights of the first study"
    )
    weight: Weight = Field(1, description="the sparsity weight that the other studies hold")
    noise_kinds: tuple[NoiseKind, ...] = Field(("mixed",), description="noise in training, a curve each")
    noise_ratios: tuple[Fraction, ...] = Field((0.05, 0.1, 0.15, 0.2), description="its ratios; 0 is always there")
    sharings: tuple[Weight, ...] = Field(
        (0, 0.5, 1, 1.5),
        description="of several tasks: weights of sharing, in a study of their own; an empty list leaves it out",
    )
    sharing: Weight = Field(0, description="of several tasks: the weight of sharing that the other studies hold")
    learning_rates: tuple[Positive, ...] = Field(
        (1e-3, 2e-3, 4e-3),
        min_length=1,
        description="of the search, to choose from on validation without noise; baselines have theirs",
    )
    gate_learning_rate: Positive = Field(0.1, description="of trained gates")
    screening: int = Field(
        32,
        ge=0,
        description="trials spread evenly over `search.space` that show which dimensions matter; at least 10, or 0 for "
        "none",
    )

    @field_validator("noise_kinds")
    @classmethod
    def _check_noise_kinds(cls, kinds: tuple[NoiseKind, ...]) -> tuple[NoiseKind, ...]:
        if "none" in kinds:
            raise ValueError("none is no kind of noise; every curve starts at ratio 0 anyway")
        return kinds

    @field_validator("weights", "sharings", "noise_kinds", "noise_ratios", "learning_rates")
    @classmethod
    def _deduplicate(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(values))
