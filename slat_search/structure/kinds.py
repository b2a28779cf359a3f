"""The registry of kinds. Adding a kind: write a ``SiteModule`` and one entry in ``KINDS``; or, in another package, an
entry point of the group ``slat_search.kinds`` that names a :class:`Kind`.

An entry holds all that the rest of the package needs to know of a kind: for the configuration, gate maps and their
colors, and export. This file needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

from ..errors import did_you_mean
from ..plugins import Registry

if TYPE_CHECKING:
    from .site_module import SiteModule
    from .sites import Site


@dataclass(frozen=True)
class Kind:
    """Static description of a kind of module.

    Attributes:
        name: its name in YAML and JSON.
        source: the class that computes it, or ``module:Class`` in this package, imported on first use; kinds that share
            a class are fused into one instance a site.
        unit_cost: trained parameters of one unit at a site.
        fits: whether the kind can stand at a site.
        size: largest size at a site in the default space; 0 where it is a candidate only when named.
        group: units that open and close together in the default space.
        sized: False when a site can hold one unit only.
        positional: whether each unit has a position of its own (entries of a spectral core), which a structure lists.
        label: one unit in words, for figures; by default the name.
        color: of its units in figures, as CSS has it; by default a gray that such kinds share.
        dark_color: the same on a dark page; by default ``color``.
        in_peft: whether a trained module can be written as one of the peft library.
    """

    name: str
    source: type[SiteModule] | str
    unit_cost: Callable[[Site], int]
    fits: Callable[[Site], bool]
    size: int = 0
    group: int = 1
    sized: bool = True
    positional: bool = False
    label: str = ""
    color: str = ""
    dark_color: str = ""
    in_peft: bool = False

    @cached_property
    def module(self) -> type[SiteModule]:
        """Return the class that computes it."""
        if not isinstance(self.source, str):
            return self.source
        module_name, _, class_name = self.source.partition(":")
        return getattr(import_module(f".{module_name}", __package__), class_name)

    @property
    def title(self) -> str:
        """Return one unit in words."""
        return self.label or f"{self.name} unit"

    def units(self, site: Site, size: int) -> int:
        """Return how many units a ``size`` allows at a site.

        For a spectral core these are all entries between ``size`` directions, or between all directions where the site
        has fewer. For other kinds it is ``size``.
        """
        return min(size, site.d_in, site.d_out) ** 2 if self.positional else size


# fmt: off
_BUILTIN = (
    Kind(
        "spectral", "spectral:Spectral", lambda s: 1, lambda s: not s.is_norm, size=32, positional=True,
        label="spectral entry", color="#6a3d9a", dark_color="#b795e8", in_peft=True
    ),
    Kind(
        "lora", "modules:Projection", lambda s: s.d_in + s.d_out, lambda s: not s.is_norm, size=4,
        label="LoRA rank", color="#0072b2", in_peft=True
    ),
    Kind(
        "parallel", "modules:Projection", lambda s: s.d_in + s.d_out + 1, lambda s: not s.is_norm, size=4, group=2,
        color="#d55e00"
    ),
    Kind(
        "ia3", "modules:Rescale", lambda s: s.d_out, lambda s: not s.is_norm, sized=False,
        label="IA3", color="#56b4e9"
    ),
    Kind(
        "serial", "modules:Serial", lambda s: 2 * s.d_out + 1, lambda s: s.is_sublayer_output, size=4, group=2,
        color="#009e73"
    ),
    Kind(
        "norm", "modules:Norm", lambda s: 2 * s.d_out, lambda s: s.is_norm, size=1, sized=False,
        label="norm", color="#cc79a7", in_peft=True
    ),
    Kind(
        "bias", "modules:Bias", lambda s: s.d_out, lambda s: True, size=1, sized=False,
        label="bias", color="#e69f00", in_peft=True
    ),
)
# fmt: on
#: In the order in which a site applies them and figures show them; kinds of other packages come last.
KINDS: Registry[Kind] = Registry("slat_search.kinds", Kind, {kind.name: kind for kind in _BUILTIN})


def unknown_kind(name: str, kinds: Collection[str] | None = None) -> str:
    """Return a sentence on a kind that is not among the registered ones, those of ``KINDS`` by default."""
    kinds = KINDS.keys() if kinds is None else kinds
    return f"unknown kind {name!r}; kinds are {', '.join(kinds)}{did_you_mean(name, kinds)}"
