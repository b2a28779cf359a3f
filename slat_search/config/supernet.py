"""Sections on the supernet: which candidates, and how they are closed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from ..structure.gate_kinds import GATE_KINDS
from ..structure.kinds import KINDS, unknown_kind
from ..structure.options import ModuleOptions, SearchOptions
from .section import Fraction, Positive, Section

Activation = Literal["gelu", "relu", "silu", "tanh"]
#: removed fields of gates, none of which improved results where it was measured
_REMOVED = ("held_out", "groups", "depth", "entropy", "diversity")


def _member_of(names: Collection[str]) -> Callable[[str], str]:
    """Return a validator that accepts registered names alone."""

    def check_name(name: str) -> str:
        if name not in names:
            raise ValueError(unknown_kind(name, names))
        return name

    return check_name


KindName = Annotated[str, AfterValidator(_member_of(KINDS.keys()))]
GateKindName = Annotated[str, AfterValidator(_member_of(GATE_KINDS.keys())), WithJsonSchema({"enum": [*GATE_KINDS]})]


class Candidate(Section):
    """Largest size of a kind at a site."""

    size: int = Field(
        4,
        ge=0,
        description="LoRA rank, bottleneck width, or leading singular directions of a spectral core; 0 leaves it out",
    )
    group: int = Field(1, ge=1, description="units that open and close together")


def _candidates() -> dict[str, Candidate]:
    """Return the default candidates of a space, with the sizes in the registry."""
    return {name: Candidate(size=kind.size, group=kind.group) for name, kind in KINDS.items() if kind.size}


class SpaceConfig(Section):
    """The supernet: candidates at every site."""

    kinds: dict[KindName, Candidate] = Field(
        default_factory=_candidates,
        min_length=1,
        description=f"candidate kinds with their largest size, of {', '.join(KINDS)}",
    )
    activation: Activation = Field(
        cast(Activation, ModuleOptions.activation), description="nonlinearity of bottlenecks"
    )
    scale: Positive = Field(ModuleOptions.scale, description="factor on LoRA and parallel bottlenecks (lora_alpha / r)")
    include: tuple[str, ...] = Field(("*",), description="shell patterns of module paths that may hold modules")
    exclude: tuple[str, ...] = Field((), description="shell patterns of module paths that may not")


class GatesConfig(Section):
    """How gates learn."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {
        "growth": "lr_growth",
        "crowding": "redundancy_discount",
        "reach": "depth_exponent",
    }

    kind: GateKindName = Field(
        SearchOptions.kind,
        description="how atoms are chosen: `screening` judges candidates at zero before any of them trains; `saliency` "
        "trains all and measures what the loss would lose without each; the others train gates (`sigmoid` is the form "
        "of arXiv 2509.03057)",
    )
    init: float = Field(SearchOptions.init, gt=0, description="first value of the structure variables; positive = open")
    temperature: tuple[Positive, Positive] = Field(
        SearchOptions.temperature, description="at the start and at the end of the search"
    )
    warmup: Fraction = Field(
        SearchOptions.warmup,
        description="share of the steps before gates move; screening trains the head alone meanwhile",
    )
    settle: Fraction = Field(SearchOptions.settle, description="share of the steps after which gates are fixed")
    shrink_every: Fraction = Field(
        SearchOptions.shrink_every, description="closed atoms are physically removed this often (share of steps)"
    )
    screen: Fraction = Field(
        SearchOptions.screen,
        description="screening: share of the steps, after the warm-up, whose gradients judge the candidates",
    )
    surplus: float = Field(
        SearchOptions.surplus,
        ge=1,
        description="screening: size after it, as a multiple of the structure's; the least worthy atoms leave "
        "gradually until `pruned`; never more than a tenth of the candidates",
    )
    pruned: Fraction = Field(
        SearchOptions.pruned, description="screening: share of the steps after which the surplus has left"
    )
    lr_growth: Fraction = Field(
        SearchOptions.lr_growth,
        description="power with which the modules' learning rate grows the fewer parameters are left",
    )
    redundancy_discount: float = Field(
        SearchOptions.redundancy_discount,
        gt=0,
        le=1,
        description="saliency: factor on the worth of each further atom of one kind in one block",
    )
    depth_exponent: float = Field(
        SearchOptions.depth_exponent,
        ge=0,
        description="saliency: power of the number of blocks above an atom in what it is worth",
    )
    smoothing: float = Field(
        SearchOptions.smoothing, gt=0, lt=1, description="saliency: share of the old value at each step"
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_removed(cls, data: Any) -> Any:
        """Reject removed fields; drop those without effect, which files of earlier runs have."""
        if not isinstance(data, dict):
            return data
        if data.get("kind") == "straight_through":
            raise ValueError("kind straight_through was removed, as it gained nothing; hard_concrete is closest to it")
        for name in _REMOVED:
            if data.get(name):
                raise ValueError(f"{name} was removed, as it gained nothing; leave it out")
        return {name: value for name, value in data.items() if name not in _REMOVED}

    @model_validator(mode="after")
    def _check_order(self) -> GatesConfig:
        if not self.warmup < self.settle:
            raise ValueError("warmup must be smaller than settle")
        return self
