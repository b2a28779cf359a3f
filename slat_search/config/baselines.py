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
_QUERY_VALUE, _EVERY = ("q", "v", "qkv"), ("all",)
_FINE, _SLOW = (3e-5, 1e-4, 3e-4), (3e-4, 1e-3, 3e-3)
_MIDDLE, _FAST = (1e-3, 3e-3, 1e-2), (3e-3, 1e-2, 3e-2)
_FASTEST = (1e-2, 3e-2, 1e-1)  # of few trained numbers, each of which has much to do
_FAR = (1e-1, 3e-1, 1.0)  # of numbers that stand in hundreds of places, divided by the root of how many


@dataclass(frozen=True)
class MethodDefaults:
    """Defaults of a method.

    Attributes:
        title: name in tables.
        learning_rates: to choose from.
        size: rank, width or number of vectors and the like; None where the method has none.
        roles: projections that it is put on; None where it has its own places.
        budget: whether it fills a number of parameters.
        peft: whether it goes through the peft library and takes that library's fields.
        tuner: whether it is one of peft's methods, to be named.
    """

    title: str
    learning_rates: tuple[float, ...]
    size: int | None = None
    roles: tuple[str, ...] | None = None
    budget: bool = False
    peft: bool = False
    tuner: bool = False


METHOD_DEFAULTS: dict[MethodName, MethodDefaults] = {
    "lora": MethodDefaults("LoRA r={size}", _MIDDLE, 8, _QUERY_VALUE, peft=True),
    "dora": MethodDefaults("DoRA r={size}", _MIDDLE, 8, _QUERY_VALUE, peft=True),
    "adalora": MethodDefaults("AdaLoRA r={size}", _MIDDLE, 4, _QUERY_VALUE, peft=True),
    "vera": MethodDefaults("VeRA r={size}", _FAST, 256, _QUERY_VALUE, peft=True),
    "tinylora": MethodDefaults("TinyLoRA u={size}", _FASTEST, 4, _EVERY, peft=True),
    "unilora": MethodDefaults("Uni-LoRA d={size}", _FAR, 256, _EVERY, peft=True),
    "fourierft": MethodDefaults("FourierFT n={size}", _FASTEST, 100, _QUERY_VALUE, peft=True),
    "ia3": MethodDefaults("IA3", _FAST, peft=True),
    "layernorm": MethodDefaults("LayerNorm", _FAST, peft=True),
    "prefix": MethodDefaults("prefix {size}", _FAST, 16, peft=True),
    "peft": MethodDefaults("{tuner}", _MIDDLE, roles=_QUERY_VALUE, peft=True, tuner=True),
    "houlsby": MethodDefaults("Houlsby d={size}", _MIDDLE, 8),
    "pfeiffer": MethodDefaults("Pfeiffer d={size}", _MIDDLE, 16),
    "parallel": MethodDefaults("parallel adapter d={size}", _SLOW, 8),
    "bitfit": MethodDefaults("BitFit", _FAST),
    "cores": MethodDefaults("even cores r={size}", _FASTEST, 2, _EVERY),
    "lora_xs": MethodDefaults("LoRA-XS r={size}", _MIDDLE, 4, _EVERY),
    "svft": MethodDefaults("SVFT", _FASTEST, roles=_EVERY),
    "svft_banded": MethodDefaults("SVFT banded d={size}", _FAST, 2, _EVERY),
    "unipelt": MethodDefaults("UniPELT-like d={size}", _MIDDLE, 8),
    "uniform": MethodDefaults("even LoRA", _MIDDLE, budget=True),
    "random": MethodDefaults("random structure", _MIDDLE, budget=True),
    "entries": MethodDefaults("random entries", _FASTEST, 32, budget=True),
    "head": MethodDefaults("linear head", _FAST),
    "full": MethodDefaults("full fine-tuning", _FINE),
}
_FEW: tuple[Any, ...] = ("lora", "houlsby", "bitfit", "head")
#: name of a set -> its entries
SETS: dict[str, tuple[Any, ...]] = {
    "few": _FEW,
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
    def _usual(cls, raw: Any) -> Any:
        """Fill in what is left out, so that the resolved configuration says it."""
        if not isinstance(raw, Mapping):
            return raw
        usual = METHOD_DEFAULTS.get(raw.get("method", "lora"))
        if usual is None:
            return raw
        filled = {"learning_rates": usual.learning_rates, "size": usual.size, "roles": usual.roles}
        return filled | {key: value for key, value in raw.items() if value is not None and value != ()}

    @model_validator(mode="after")
    def _takes(self) -> Self:
        usual = METHOD_DEFAULTS[self.method]
        if usual.tuner and not self.tuner:
            raise ValueError("peft needs `tuner`, a method of that library by its name there, like tinylora or boft")
        for field, takes in (
            ("size", usual.size is not None),
            ("roles", usual.roles is not None),
            ("budget", usual.budget),
            ("peft", usual.peft),
            ("tuner", usual.tuner),
        ):
            if getattr(self, field) and not takes:
                raise ValueError(f"{self.method} takes no {field}")
        return self

    @property
    def same_size(self) -> bool:
        """Whether it is made once for each found structure, in its size."""
        return METHOD_DEFAULTS[self.method].budget and self.budget is None

    def sized(self, params: int) -> Baseline:
        """Made for a structure of ``params`` parameters; itself where it has a size of its own."""
        return self.model_copy(update={"budget": params}) if self.same_size else self

    @property
    def options(self) -> dict[str, Any]:
        """Return the options of the method, JSON values only."""
        options = {
            "tuner": self.tuner,
            "size": self.size,
            "roles": self.roles and list(self.roles),
            "budget": self.budget,
            "peft": self.peft,
        }
        return {name: value for name, value in options.items() if value}

    @property
    def _places(self) -> tuple[str, ...]:
        return self.roles if self.roles is not None and self.roles != METHOD_DEFAULTS[self.method].roles else ()

    @property
    def label(self) -> str:
        """Short name for files: ``lora-8``, ``bitfit``."""
        parts = [self.method, *(str(n) for n in (self.tuner, self.size, self.budget) if n), *self._places]
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
        where = f" ({', '.join(self._places)})" if self._places else ""
        fields = f" [{', '.join(f'{key}={value}' for key, value in self.peft.items())}]" if self.peft else ""
        return title + size + where + fields


def entries(raw: Any) -> Any:
    """Entries of a list in which a set's or a method's name may stand for what it usually is; or of one such name."""
    if isinstance(raw, str):
        raw = [raw]
    if not isinstance(raw, list | tuple):
        return raw
    listed: list[Any] = []
    known = (*SETS, *METHOD_DEFAULTS)
    for entry in raw:
        if isinstance(entry, str) and entry not in known:
            hint = did_you_mean(entry, known, before="", after=" ")
            raise ValueError(
                f"no set or method is called {entry!r}; {hint}sets are {', '.join(SETS)}, "
                f"methods {', '.join(METHOD_DEFAULTS)}"
            )
        named = SETS.get(entry, (entry,)) if isinstance(entry, str) else (entry,)
        listed += [{"method": method} if isinstance(method, str) else method for method in named]
    return listed
