"""The candidates of a search: kinds, largest sizes, and sizes of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import SlatError
from .kinds import KINDS, unknown_kind
from .module_spec import ModuleSpec
from .options import ModuleOptions
from .sites import Site
from .structure import Structure


@dataclass(frozen=True)
class Candidate:
    """Largest size of a kind at a site, and the size of its atoms.

    Attributes:
        size: units; of a spectral core the leading directions on either side.
        group: units of an atom, which open and close together.
    """

    size: int
    group: int = 1


def default_candidates() -> dict[str, Candidate]:
    """Return the candidates of a space that names none: the kinds whose entry has a size."""
    return {name: Candidate(kind.size, kind.group) for name, kind in KINDS.items() if kind.size}


@dataclass(frozen=True)
class Space:
    """Candidate kinds, the same at every site that they fit.

    Attributes:
        candidates: kind -> its largest size and the size of its atoms.
        options: what all modules share.

    Raises:
        SlatError: an unknown kind.
    """

    candidates: dict[str, Candidate] = field(default_factory=default_candidates)
    options: ModuleOptions = field(default_factory=ModuleOptions)

    def __post_init__(self) -> None:
        for kind in self.candidates:
            if kind not in KINDS:
                raise SlatError(f"space: {unknown_kind(kind)}")

    def supernet(self, sites: Sequence[Site]) -> Structure:
        """Return the structure in which every candidate is open."""
        modules = tuple(
            ModuleSpec.whole(site, kind, candidate.size)
            for kind, candidate in self.candidates.items()
            for site in sites
            if candidate.size and KINDS[kind].fits(site)
        )
        if not modules:
            raise SlatError("space: no candidate fits any site")
        return Structure(modules, self.options)

    def params(self, sites: Sequence[Site]) -> int:
        """Return the parameters of :meth:`supernet`, without building it."""
        return sum(
            KINDS[kind].units(site, candidate.size) * KINDS[kind].unit_cost(site)
            for kind, candidate in self.candidates.items()
            for site in sites
            if KINDS[kind].fits(site)
        )

    def group(self, kind: str) -> int:
        return self.candidates[kind].group
