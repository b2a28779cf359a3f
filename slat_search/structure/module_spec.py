"""One module of a structure: its kind, its site, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ..errors import SlatError
from .kinds import KINDS, unknown_kind
from .sites import Site
from .spectral import Entry, leading_entries

_MAX_SIZE = 2**24  # entries of a core between 4096 directions; no module of a model has more units


@dataclass(frozen=True, order=True)
class ModuleSpec:
    """One module at one site.

    Attributes:
        size: its rank (LoRA), its hidden width (bottlenecks), its number of entries (spectral) or 1.
        entries: (i, j) of each unit, increasing, for kinds whose units have positions (spectral).
    """

    site: Site
    kind: str
    size: int = 1
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SlatError(f"structure: {unknown_kind(self.kind)}")
        if KINDS[self.kind].positional:
            self._check_entries()
        elif self.entries:
            raise SlatError(f"structure: {self.kind} at {self.site.name} takes no entries")
        if not 1 <= self.size <= _MAX_SIZE or (self.size > 1 and not KINDS[self.kind].sized):
            raise SlatError(f"structure: size {self.size} is not possible for {self.kind} at {self.site.name}")
        if not KINDS[self.kind].fits(self.site):
            raise SlatError(f"structure: {self.kind} cannot stand at {self.site.name} (role {self.site.role})")

    def _check_entries(self) -> None:
        subject = f"structure: {self.kind} at {self.site.name}"
        if self.size != len(self.entries):
            raise SlatError(f"{subject} has size {self.size} and {len(self.entries)} entries")
        if list(self.entries) != sorted(set(self.entries)):
            raise SlatError(f"{subject}: entries must increase and be different")
        directions = min(self.site.d_in, self.site.d_out)
        for entry in self.entries:
            if not all(0 <= direction < directions for direction in entry):
                raise SlatError(f"{subject}: there is no entry {list(entry)} among {directions} directions")

    @classmethod
    def whole(cls, site: Site, kind: str, size: int) -> ModuleSpec:
        """Return the module with all units that ``size`` allows, see :meth:`.Kind.units`."""
        return cls.of_units(site, kind, KINDS[kind].units(site, size))

    @classmethod
    def of_units(cls, site: Site, kind: str, count: int) -> ModuleSpec:
        """Return a module of ``count`` units; of a spectral core those nearest to the leading directions."""
        if not KINDS[kind].positional:
            return cls(site, kind, count)
        return cls(site, kind, count, tuple(sorted(islice(leading_entries(), count))))

    @property
    def params(self) -> int:
        return self.size * KINDS[self.kind].unit_cost(self.site)

    def only(self, units: Sequence[int]) -> ModuleSpec:
        """Return the module with only these units, given by increasing number."""
        return replace(self, size=len(units), entries=tuple(self.entries[u] for u in units) if self.entries else ())

    def joined(self, other: ModuleSpec) -> ModuleSpec:
        """Return the union of two modules of one kind at one site."""
        if KINDS[self.kind].positional:
            entries = tuple(sorted({*self.entries, *other.entries}))
            return replace(self, size=len(entries), entries=entries)
        return replace(self, size=max(self.size, other.size))

    def common(self, other: ModuleSpec) -> ModuleSpec | None:
        """Return the intersection of two modules of one kind at one site; None where it is empty."""
        if KINDS[self.kind].positional:
            entries = tuple(sorted({*self.entries} & {*other.entries}))
            return replace(self, size=len(entries), entries=entries) if entries else None
        return replace(self, size=min(self.size, other.size))
