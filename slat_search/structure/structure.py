"""A structure: which modules are at which sites. An immutable value, JSON in and out."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import SlatError
from ..files import read_text, write_text
from ..structure_text import by_line
from .kinds import KINDS
from .module_spec import ModuleSpec
from .options import ModuleOptions
from .packed import finite_number, module_from, packed, unpacked
from .site_module import ACTIVATIONS
from .sites import Site

FORMAT = "slat-structure/1"

_MAX_UNITS = 2**24  # of a structure that random units are drawn from


@dataclass(frozen=True)
class Structure:
    """A set of modules with the options that they share.

    Example:
        >>> sites = (Site(0, "layer.0.q", "q", 4, 4), Site(0, "layer.0.v", "v", 4, 4))
        >>> Structure.lora(sites, r=2).params
        32
        >>> Structure.lora(sites, r=2).describe()
        '32 parameters: lora 4'
    """

    modules: tuple[ModuleSpec, ...] = ()
    options: ModuleOptions = field(default_factory=ModuleOptions)

    def __post_init__(self) -> None:
        if self.options.activation not in ACTIVATIONS:
            raise SlatError(
                f"structure: unknown activation {self.options.activation!r}; one of {', '.join(ACTIVATIONS)}"
            )
        keys = Counter((m.site.name, m.kind) for m in self.modules)
        if len(keys) < len(self.modules):
            duplicate = keys.most_common(1)[0][0]
            raise SlatError(f"structure: {duplicate[1]} stands twice at {duplicate[0]}")
        object.__setattr__(self, "modules", tuple(sorted(self.modules)))

    # -- description -----------------------------------------------------------------------------------

    @property
    def params(self) -> int:
        """Trained adapter parameters, without the task head."""
        return sum(m.params for m in self.modules)

    def params_by(self, key: str) -> dict[str, int]:
        """Return parameters grouped by ``"kind"``, ``"layer"`` or ``"role"``."""
        totals: dict[str, int] = {}
        for m in self.modules:
            name = m.kind if key == "kind" else str(getattr(m.site, key))
            totals[name] = totals.get(name, 0) + m.params
        return totals

    @cached_property
    def digest(self) -> str:
        """Return a short stable name of the value: the first 10 hex digits of the SHA-256 of its JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    def describe(self) -> str:
        """Return one line for people, e.g. ``9,300 parameters: spectral 144 entries in 20 sites, lora 12, bias 3``."""
        descriptions = []
        for kind in KINDS:
            sizes = [m.size for m in self.modules if m.kind == kind]
            if sizes and KINDS[kind].positional:
                entries, sites = "entry" if sum(sizes) == 1 else "entries", "site" if len(sizes) == 1 else "sites"
                descriptions.append(f"{kind} {sum(sizes):,} {entries} in {len(sizes)} {sites}")
            elif sizes:
                descriptions.append(f"{kind} {sum(sizes)}")
        total = f"{self.params:,} parameter{'' if self.params == 1 else 's'}"
        return f"{total}: {', '.join(descriptions) or 'the bare head'}"

    # -- JSON ------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; modules are sorted by layer and path."""
        modules = [
            {
                **asdict(m.site),
                "kind": m.kind,
                "size": m.size,
                "params": m.params,
                **({"entries": [list(entry) for entry in m.entries]} if m.entries else {}),
            }
            for m in self.modules
        ]
        return {"format": FORMAT, **asdict(self.options), "params": self.params, "modules": modules}

    def to_json(self) -> str:
        """Return readable and diffable JSON: one line per module."""
        return by_line(self.to_dict())

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Structure:
        """Inverse of :meth:`to_dict`.

        Raises:
            SlatError: fields are missing, another format version, or a module that cannot be.
        """
        try:
            if raw["format"] != FORMAT:
                raise SlatError(f"structure: format {raw['format']!r} is not {FORMAT!r}")
            modules = tuple(map(module_from, raw["modules"]))
            structure = cls(modules, ModuleOptions(raw["activation"], finite_number(raw["scale"])))
            if raw.get("params", structure.params) != structure.params:
                raise SlatError(f"structure: params is {raw['params']!r}, and its modules have {structure.params}")
            return structure
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SlatError(f"structure: not a structure ({error!r})") from error

    @classmethod
    def from_json(cls, text: str) -> Structure:
        """Inverse of :meth:`to_json`; raises as :meth:`from_dict` does, and on text that is not JSON."""
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise SlatError(f"structure: not JSON ({error})") from error

    def packed(self) -> str:
        """Return compressed text of about a twentieth of the JSON's size, where only a short string fits."""
        return packed(self.to_dict())

    @classmethod
    def unpack(cls, text: str) -> Structure:
        """Inverse of :meth:`packed`; raises as :meth:`from_dict` does, and on text that is not packed."""
        return cls.from_dict(unpacked(text))

    def save(self, path: str | Path) -> None:
        write_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Structure:
        return cls.from_json(read_text(Path(path)))

    # -- hand-made structures --------------------------------------------------------------------------

    @classmethod
    def at(
        cls, sites: Iterable[Site], kind: str, size: int, roles: Sequence[str] | None = None, **options: Any
    ) -> Structure:
        """Return modules of one ``kind`` and ``size`` at every site that it fits, or at those with one of ``roles``."""
        targets = [s for s in sites if KINDS[kind].fits(s) and (roles is None or s.role in roles)]
        return cls(tuple(ModuleSpec.whole(s, kind, size) for s in targets), ModuleOptions(**options))

    @classmethod
    def cores(cls, sites: Iterable[Site], r: int, roles: Sequence[str] | None = None, scale: float = 2.0) -> Structure:
        """Return a whole core of ``r * r`` numbers between leading singular directions of every projection.

        As in LoRA-XS (Balazy et al. 2024, arXiv 2405.17604), whose frozen factors include the singular values.
        """
        return cls.at(sites, "spectral", r, roles, scale=scale)

    @classmethod
    def lora(
        cls, sites: Iterable[Site], r: int, roles: Sequence[str] = ("q", "v", "qkv"), alpha: float = 16
    ) -> Structure:
        """Return LoRA of rank ``r`` (Hu et al. 2021), on the query and value projections by default."""
        return cls.at(sites, "lora", r, roles, scale=alpha / r)

    @classmethod
    def houlsby(cls, sites: Iterable[Site], width: int, activation: str = "gelu") -> Structure:
        """Return serial bottlenecks with biases after attention and MLP of each block (Houlsby et al. 2019)."""
        sites = tuple(sites)
        roles = ("attn_out", "mlp_out")
        return cls.at(sites, "serial", width, roles, activation=activation) | cls.at(sites, "bias", 1, roles)

    @classmethod
    def pfeiffer(cls, sites: Iterable[Site], width: int, activation: str = "relu") -> Structure:
        """Return serial bottlenecks with biases after the MLP alone (Pfeiffer et al. 2021, arXiv 2005.00247).

        It reads the MLP's output before the residual sum, as Houlsby's does; the ``adapters`` library's ``seq_bn``
        reads it after a further pass through the layer norm, and is another function.
        """
        sites = tuple(sites)
        roles = ("mlp_out",)
        return cls.at(sites, "serial", width, roles, activation=activation) | cls.at(sites, "bias", 1, roles)

    @classmethod
    def parallel(
        cls, sites: Iterable[Site], width: int, roles: Sequence[str] = ("attn_out", "mlp_out"), scale: float = 4.0
    ) -> Structure:
        """Return bottlenecks beside projections that read the projection's own input; scale as in He et al. 2021."""
        return cls.at(sites, "parallel", width, roles, activation="relu", scale=scale)

    @classmethod
    def bitfit(cls, sites: Iterable[Site]) -> Structure:
        """Return every bias of the blocks (Ben Zaken et al. 2021)."""
        return cls.at(sites, "bias", 1)

    @classmethod
    def ia3(cls, sites: Iterable[Site], roles: Sequence[str] = ("k", "v", "mlp_in")) -> Structure:
        """Return rescaled keys, values and inner MLP activations (Liu et al. 2022).

        On the MLP the factor applies before the nonlinearity, where the site's output is.
        """
        return cls.at(sites, "ia3", 1, roles)

    @classmethod
    def uniform(cls, sites: Iterable[Site], budget: int, kind: str = "lora", **options: Any) -> Structure:
        """Return at most ``budget`` parameters of one kind, spread as evenly over the sites as whole units allow."""
        targets = [s for s in sites if KINDS[kind].fits(s)]
        sizes = dict.fromkeys(targets, 0)
        room = budget
        limits = {s: min(s.d_in, s.d_out) ** 2 if KINDS[kind].positional else math.inf for s in targets}
        limits |= dict.fromkeys(targets, 1) if not KINDS[kind].sized else {}
        while growable := [s for s in targets if KINDS[kind].unit_cost(s) <= room and sizes[s] < limits[s]]:
            smallest = min(sizes[s] for s in growable)
            level = [s for s in growable if sizes[s] == smallest]
            affordable = room // max(1, sum(KINDS[kind].unit_cost(s) for s in level))
            grown = level if affordable else [level[len(level) // 2]]  # the last few go to the middle
            for site in grown:
                sizes[site] += 1
                room -= KINDS[kind].unit_cost(site)
        return cls(tuple(ModuleSpec.of_units(s, kind, n) for s, n in sizes.items() if n), ModuleOptions(**options))

    @classmethod
    def random(
        cls, sites: Iterable[Site], budget: int, seed: int, kinds: Sequence[str] | None = None, size: int = 4
    ) -> Structure:
        """Return at most ``budget`` parameters of ``kinds`` (default: all), at most ``size`` units each, at random."""
        sites = tuple(sites)
        supernet = cls()
        for kind in kinds or KINDS:
            supernet |= cls.at(sites, kind, size if KINDS[kind].sized else 1)
        return supernet.random_part(budget, seed)

    def random_part(self, budget: int, seed: int) -> Structure:
        """Return units of this structure drawn at random until no further one fits into ``budget`` parameters.

        For a supernet, this is the random structure a search has to beat.
        """
        if (unit_count := sum(m.size for m in self.modules)) > _MAX_UNITS:
            raise SlatError(f"structure: {unit_count:,} units to draw from are too many; {_MAX_UNITS:,} at most")
        units = [(m, number) for m in self.modules for number in range(m.size)]
        random.Random(seed).shuffle(units)
        picks: dict[ModuleSpec, list[int]] = {}
        room = budget
        for module, number in units:
            cost = module.params // module.size
            if cost <= room:
                picks.setdefault(module, []).append(number)
                room -= cost
        return replace(self, modules=tuple(module.only(sorted(numbers)) for module, numbers in picks.items()))

    # -- set operations --------------------------------------------------------------------------------

    def __or__(self, other: Structure) -> Structure:
        """Return the union: every module of both, at the larger size; options are those of ``self``."""
        modules = {(m.site, m.kind): m for m in other.modules}
        for m in self.modules:
            counterpart = modules.get((m.site, m.kind))
            modules[m.site, m.kind] = m if counterpart is None else m.joined(counterpart)
        return replace(self, modules=tuple(modules.values()))

    def __and__(self, other: Structure) -> Structure:
        """Return the intersection: modules that both have, at the smaller size; options are those of ``self``."""
        counterparts = {(m.site, m.kind): m for m in other.modules}
        intersections = [
            m.common(counterparts[m.site, m.kind]) for m in self.modules if (m.site, m.kind) in counterparts
        ]
        return replace(self, modules=tuple(m for m in intersections if m is not None))

    def overlap(self, other: Structure) -> float:
        """Return parameters of the intersection over those of the union (Jaccard), 0 to 1; 1 for two empty ones."""
        union = (self | other).params
        return (self & other).params / union if union else 1.0
