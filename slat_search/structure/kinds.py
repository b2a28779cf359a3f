"""The registry of kinds. Adding a kind: write a ``SiteModule`` and one entry in ``KINDS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .modules import Bias, Norm, Projection, Rescale, Serial
from .site_module import SiteModule
from .sites import Site
from .spectral import Spectral


@dataclass(frozen=True)
class Kind:
    """Static description of a kind of module.

    Attributes:
        name: its name in YAML and JSON.
        module: the class that computes it; kinds that share a class are fused into one instance a site.
        unit_cost: trained parameters of one unit at a site.
        fits: whether the kind can stand at a site.
        sized: False when a site can hold one unit only.
        positional: whether units are told apart by their places (entries of a spectral core), which a structure names.
    """

    name: str
    module: type[SiteModule]
    unit_cost: Callable[[Site], int]
    fits: Callable[[Site], bool]
    sized: bool = True
    positional: bool = False

    def units(self, site: Site, size: int) -> int:
        """How many units ``size`` allows at a site: all entries between so many directions (as many as the site has at
        most) of a spectral core, ``size`` of other kinds."""
        return min(size, site.d_in, site.d_out) ** 2 if self.positional else size


#: In the order in which a site applies them.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("spectral", Spectral, lambda s: 1, lambda s: not s.is_norm, positional=True),
        Kind("lora", Projection, lambda s: s.d_in + s.d_out, lambda s: not s.is_norm),
        Kind("parallel", Projection, lambda s: s.d_in + s.d_out + 1, lambda s: not s.is_norm),
        Kind("ia3", Rescale, lambda s: s.d_out, lambda s: not s.is_norm, sized=False),
        Kind("serial", Serial, lambda s: 2 * s.d_out + 1, lambda s: s.is_sublayer_output),
        Kind("norm", Norm, lambda s: 2 * s.d_out, lambda s: s.is_norm, sized=False),
        Kind("bias", Bias, lambda s: s.d_out, lambda s: True, sized=False),
    )
}
