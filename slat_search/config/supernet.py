"""Sections on the supernet: which candidates, and how they are closed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from .section import Fraction, Positive, Section

KindName = Literal["spectral", "lora", "parallel", "ia3", "serial", "norm", "bias"]
GateKind = Literal["sigmoid", "hard_concrete", "straight_through", "saliency", "screening"]
#: gates that are measured and not trained
MEASURED: tuple[GateKind, ...] = ("saliency", "screening")
Activation = Literal["gelu", "relu", "silu", "tanh"]
Grouping = Literal["layer", "kind", "site"]


class Candidate(Section):
    """Largest size of a kind at a site."""

    size: int = Field(
        4,
        ge=0,
        description="LoRA rank, bottleneck width, or leading singular directions of a spectral core; 0 leaves it out",
    )
    group: int = Field(1, ge=1, description="units that open and close together")


_CANDIDATES: dict[KindName, Candidate] = {
    "spectral": Candidate(size=32),
    "lora": Candidate(size=4),
    "parallel": Candidate(size=4, group=2),
    "serial": Candidate(size=4, group=2),
    "norm": Candidate(size=1),
    "bias": Candidate(size=1),
}


class SpaceConfig(Section):
    """The supernet: candidates at every site."""

    kinds: dict[KindName, Candidate] = Field(
        default_factory=lambda: dict(_CANDIDATES),
        min_length=1,
        description="candidate kinds with their largest size",
    )
    activation: Activation = Field("gelu", description="nonlinearity of bottlenecks")
    scale: Positive = Field(2.0, description="factor on LoRA and parallel bottlenecks (lora_alpha / r)")
    include: tuple[str, ...] = Field(("*",), description="shell patterns of module paths that may hold modules")
    exclude: tuple[str, ...] = Field((), description="shell patterns of module paths that may not")


class GatesConfig(Section):
    """How gates learn."""

    kind: GateKind = Field(
        "screening",
        description="how atoms are chosen: `screening` judges candidates at zero before any of them trains; `saliency` "
        "trains all and measures what the loss would lose without each; the others train gates (`sigmoid` is the form "
        "of arXiv 2509.03057)",
    )
    init: float = Field(1.0, gt=0, description="first value of the structure variables; positive = open")
    temperature: tuple[Positive, Positive] = Field((1.0, 0.3), description="at the start and at the end of the search")
    warmup: Fraction = Field(
        0.1, description="share of the steps before gates move; screening trains the head alone meanwhile"
    )
    settle: Fraction = Field(0.7, description="share of the steps after which gates are fixed")
    shrink_every: Fraction = Field(0.02, description="closed atoms are physically removed this often (share of steps)")
    screen: Fraction = Field(
        0.04, description="screening: share of the steps, after the warm-up, whose gradients judge the candidates"
    )
    held_out: float = Field(
        0.0, ge=0, lt=1, description="share of the training text that gates learn from and weights do not (bilevel)"
    )
    growth: Fraction = Field(
        0.35, description="power with which the modules' learning rate grows the fewer parameters are left"
    )
    crowding: float = Field(
        0.6, gt=0, le=1, description="saliency: factor on the worth of each further atom of one kind in one block"
    )
    reach: float = Field(
        0.5, ge=0, description="saliency: power of the number of blocks above an atom in what it is worth"
    )
    smoothing: float = Field(0.95, gt=0, lt=1, description="saliency: share of the old value at each step")
    groups: tuple[Grouping, ...] = Field((), description="what shares a further variable, so that it can close at once")
    depth: Fraction = Field(0.0, description="weight of compute (how deep backward must reach) against parameters")
    entropy: float = Field(0.0, ge=0, description="weight of the gates' entropy: against half-open gates")
    diversity: float = Field(0.0, ge=0, description="weight of spreading cost over kinds: against collapse onto one")

    @model_validator(mode="after")
    def _ordered(self) -> GatesConfig:
        if not self.warmup < self.settle:
            raise ValueError("warmup must be smaller than settle")
        if self.kind in MEASURED and (self.held_out or self.groups or self.entropy or self.diversity or self.depth):
            raise ValueError(
                f"kind {self.kind} trains no gates: held_out, groups, depth, entropy and diversity have no effect on it"
            )
        return self
