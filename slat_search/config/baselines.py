"""Section on the methods that found structures are compared with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ..errors import did_you_mean
from .section import Positive, Section

MethodName = Literal[
    "lora",
    "dora",
    "adalora",
    "vera",
    "tinylora",
    "unilora",
    "fourierft",
    "ia3",
    "layernorm",
    "prefix",
    "peft",
    "houlsby",
    "pfeiffer",
    "parallel",
    "bitfit",
    "cores",
    "lora_xs",
    "svft",
    "svft_banded",
    "unipelt",
    "uniform",
    "random",
    "entries",
    "head",
    "full",
]
_QUERY_AND_VALUE, _ALL_ROLES = ("q", "v", "qkv"), ("all",)
_FINE_TUNING_RATES, _LOW_RATES = (3e-5, 1e-4, 3e-4), (3e-4, 1e-3, 3e-3)
_MEDIUM_RATES, _HIGH_RATES = (1e-3, 3e-3, 1e-2), (3e-3, 1e-2, 3e-2)
_HIGHER_RATES = (1e-2, 3e-2, 1e-1)  # for few trained numbers, each of which has to change much
_HIGHEST_RATES = (
    1e-1,
    3e-1,
    1.0,
)  # for numbers that each occur in hundreds of places, divided by the root of the count


@dataclass(frozen=True)
class MethodDefaults:
    """Defaults of a method.

    Attributes:
        title: name in tables.
        learning_rates: values to choose from.
        size: rank, width, number of vectors or the like; None where the method has no size.
        roles: projections that the method is put on; None where the method itself decides.
        budget: whether the method is made for a given number of parameters.
        peft: whether the method comes from the peft library and takes that library's fields.
        tuner: whether the user names the method of the peft library.
    """

    title: str
    learning_rates: tuple[float, ...]
    size: int | None = None
    roles: tuple[str, ...] | None = None
    budget: bool = False
    peft: bool = False
    tuner: bool = False


METHOD_DEFAULTS: dict[MethodName, MethodDefaults] = {
    "lora": MethodDefaults("LoRA r={size}", _MEDIUM_RATES, 8, _QUERY_AND_VALUE, peft=True),
    "dora": MethodDefaults("DoRA r={size}", _MEDIUM_RATES, 8, _QUERY_AND_VALUE, peft=True),
    "adalora": MethodDefaults("AdaLoRA r={size}", _MEDIUM_RATES, 4, _QUERY_AND_VALUE, peft=True),
    "vera": MethodDefaults("VeRA r={size}", _HIGH_RATES, 256, _QUERY_AND_VALUE, peft=True),
    "tinylora": MethodDefaults("TinyLoRA u={size}", _HIGHER_RATES, 4, _ALL_ROLES, peft=True),
    "unilora": MethodDefaults("Uni-LoRA d={size}", _HIGHEST_RATES, 256, _ALL_ROLES, peft=True),
    "fourierft": MethodDefaults("FourierFT n={size}", _HIGHER_RATES, 100, _QUERY_AND_VALUE, peft=True),
    "ia3": MethodDefaults("IA3", _HIGH_RATES, peft=True),
    "layernorm": MethodDefaults("LayerNorm", _HIGH_RATES, peft=True),
    "prefix": MethodDefaults("prefix {size}", _HIGH_RATES, 16, peft=True),
    "peft": MethodDefaults("{tuner}", _MEDIUM_RATES, roles=_QUERY_AND_VALUE, peft=True, tuner=True),
    "houlsby": MethodDefaults("Houlsby d={size}", _MEDIUM_RATES, 8),
    "pfeiffer": MethodDefaults("Pfeiffer d={size}", _MEDIUM_RATES, 16),
    "parallel": MethodDefaults("parallel adapter d={size}", _LOW_RATES, 8),
    "bitfit": MethodDefaults("BitFit", _HIGH_RATES),
    "cores": MethodDefaults("even cores r={size}", _HIGHER_RATES, 2, _ALL_ROLES),
    "lora_xs": MethodDefaults("LoRA-XS r={size}", _MEDIUM_RATES, 4, _ALL_ROLES),
    "svft": MethodDefaults("SVFT", _HIGHER_RATES, roles=_ALL_ROLES),
    "svft_banded": MethodDefaults("SVFT banded d={size}", _HIGH_RATES, 2, _ALL_ROLES),
    "unipelt": MethodDefaults("UniPELT-like d={size}", _MEDIUM_RATES, 8),
    "uniform": MethodDefaults("even LoRA", _MEDIUM_RATES, budget=True),
    "random": MethodDefaults("random structure", _MEDIUM_RATES, budget=True),
    "entries": MethodDefaults("random entries", _HIGHER_RATES, 32, budget=True),
    "head": MethodDefaults("linear head", _HIGH_RATES),
    "full": MethodDefaults("full fine-tuning", _FINE_TUNING_RATES),
}
_SMALL_SET: tuple[Any, ...] = ("lora", "houlsby", "bitfit", "head")
#: name of a set -> its baselines
SETS: dict[str, tuple[Any, ...]] = {
    "few": _SMALL_SET,
    "standard": (
        "lora",
        {"method": "lora", "size": 2, "roles": ["all"]},
        "dora",
        "adalora",
        "ia3",
        "layernorm",
        "houlsby",
        "pfeiffer",
        "parallel",
        "bitfit",
        "unipelt",
        "uniform",
        "random",
        "head",
        "full",
    ),
    "tiny": (
        {"method": "cores", "size": 1},
        "cores",
        "lora_xs",
        "svft",
        "svft_banded",
        "entries",
        "tinylora",
        "unilora",
        "fourierft",
        "vera",
        {"method": "lora", "size": 1},
        "bitfit",
        "layernorm",
        "ia3",
        "head",
    ),
    "all": tuple(method for method in METHOD_DEFAULTS if not METHOD_DEFAULTS[method].tuner),
}


class Baseline(Section):
    """A hand-made method, tuned over its learning rates."""

    method: MethodName = Field(
        "lora",
        description="the method; `uniform`, `random` and `entries` (spectral ones, drawn at random) are structures of "
        "a given size, `cores` is LoRA-XS without its singular values, `unipelt` a mixture under gates without "
        "sparsity, `head` trains nothing but the task head, `full` everything, `peft` is what `tuner` says",
    )
    name: str | None = Field(None, description="name in tables; one is made of the method and its size by default")
    learning_rates: tuple[Positive, ...] = Field(
        (),
        description="values to choose from on validation, three of the method's by default; for `head` they are the "
        "head's own",
    )
    tuner: str | None = Field(
        None, description="of method `peft`: any method of that library that goes on projections, by its name there"
    )
    size: int | None = Field(
        None,
        ge=1,
        description="LoRA rank, bottleneck width, or prefix vectors of a block; directions of a core, diagonals on "
        "each side of SVFT's; trained numbers of a projection (TinyLoRA, FourierFT) or in all (Uni-LoRA)",
    )
    roles: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="projections that a LoRA is put on, by default q and v, of methods between singular directions, "
        "TinyLoRA and Uni-LoRA every one; `all` for every one",
    )
    budget: int | None = Field(
        None,
        ge=1,
        description="parameters of `uniform`, `random` and `entries`; by default as many as each found structure has",
    )
    peft: dict[str, Any] = Field({}, description="further fields of the method's configuration in the peft library")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, raw: Any) -> Any:
        """Fill in the defaults of the method, so that the resolved configuration states them."""
        if not isinstance(raw, Mapping):
            return raw
        defaults = METHOD_DEFAULTS.get(raw.get("method", "lora"))
        if defaults is None:
            return raw
        fields = {"learning_rates": defaults.learning_rates, "size": defaults.size, "roles": defaults.roles}
        return fields | {key: value for key, value in raw.items() if value is not None and value != ()}

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        defaults = METHOD_DEFAULTS[self.method]
        if defaults.tuner and not self.tuner:
            raise ValueError("peft needs `tuner`, a method of that library by its name there, like tinylora or boft")
        for field, is_taken in (
            ("size", defaults.size is not None),
            ("roles", defaults.roles is not None),
            ("budget", defaults.budget),
            ("peft", defaults.peft),
            ("tuner", defaults.tuner),
        ):
            if getattr(self, field) and not is_taken:
                raise ValueError(f"{self.method} takes no {field}")
        return self

    @property
    def same_size(self) -> bool:
        """Whether the method is trained once for each found structure, in the size of that structure."""
        return METHOD_DEFAULTS[self.method].budget and self.budget is None

    def sized(self, params: int) -> Baseline:
        """Return the baseline for a structure of ``params`` parameters; itself if it has a size of its own."""
        return self.model_copy(update={"budget": params}) if self.same_size else self

    @property
    def options(self) -> dict[str, Any]:
        """The options of the method, as JSON values."""
        options = {
            "tuner": self.tuner,
            "size": self.size,
            "roles": self.roles and list(self.roles),
            "budget": self.budget,
            "peft": self.peft,
        }
        return {name: value for name, value in options.items() if value}

    @property
    def _custom_roles(self) -> tuple[str, ...]:
        return self.roles if self.roles is not None and self.roles != METHOD_DEFAULTS[self.method].roles else ()

    @property
    def label(self) -> str:
        """Short name for files: ``lora-8``, ``bitfit``."""
        parts = [self.method, *(str(n) for n in (self.tuner, self.size, self.budget) if n), *self._custom_roles]
        if self.peft:
            parts.append(hashlib.sha256(json.dumps(self.peft, sort_keys=True).encode()).hexdigest()[:6])
        return "-".join(parts)

    @property
    def title(self) -> str:
        """Name in tables."""
        if self.name is not None:
            return self.name
        title = METHOD_DEFAULTS[self.method].title.format(size=self.size, tuner=self.tuner)
        size = f" {self.budget:,}" if self.budget else ""
        suffix = f" ({', '.join(self._custom_roles)})" if self._custom_roles else ""
        fields = f" [{', '.join(f'{key}={value}' for key, value in self.peft.items())}]" if self.peft else ""
        return title + size + suffix + fields


def entries(raw: Any) -> Any:
    """Return a list of baselines in which the names of sets and methods are expanded; ``raw`` is a list, or one name.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(raw, str):
        raw = [raw]
    if not isinstance(raw, list | tuple):
        return raw
    methods: list[Any] = []
    names = (*SETS, *METHOD_DEFAULTS)
    for entry in raw:
        if isinstance(entry, str) and entry not in names:
            hint = did_you_mean(entry, names, before="", after=" ")
            raise ValueError(
                f"no set or method is called {entry!r}; {hint}sets are {', '.join(SETS)}, "
                f"methods {', '.join(METHOD_DEFAULTS)}"
            )
        group = SETS.get(entry, (entry,)) if isinstance(entry, str) else (entry,)
        methods += [{"method": method} if isinstance(method, str) else method for method in group]
    return methods
