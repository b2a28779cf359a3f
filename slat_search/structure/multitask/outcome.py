"""The structure and the adapter that a search over several tasks ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..adapter import Adapter
from ..layout import Layout
from ..options import ModuleOptions
from ..sites import Site
from ..structure import Structure
from .shared_adapter import SharedAdapter
from .shared_structure import SharedStructure, Users


@dataclass(frozen=True)
class Outcome:
    """Who uses which atom at the end of a search, and at what scale.

    Attributes:
        scales: (tasks, atoms) factor of each atom for each task.
        uses: (tasks, atoms) of bool.
    """

    scales: Tensor
    uses: Tensor

    def to(self, device: torch.device) -> Outcome:
        """Return the same on a device."""
        return Outcome(self.scales.to(device), self.uses.to(device))

    def adapter(self, adapter: Adapter, layout: Layout, tasks: Sequence[str]) -> SharedAdapter:
        """Return the adapter that the tasks share.

        Args:
            adapter: holds the weights.
            layout: the atoms.
            tasks: names.
        """
        structure = shared_structure(layout, tasks, self.uses, adapter.options)
        return SharedAdapter(adapter, structure, _scales_of_units(layout, structure, self.scales))


def shared_structure(layout: Layout, tasks: Sequence[str], uses: Tensor, options: ModuleOptions) -> SharedStructure:
    """Return the structure in which each task uses its atoms.

    Args:
        layout: the atoms.
        tasks: names.
        uses: (tasks, atoms) of bool.
        options: of the modules.
    """
    columns: list[Users] = [tuple(column.nonzero().squeeze(1).tolist()) for column in uses.T.cpu()]
    users: dict[tuple[Site, str], list[Users]] = {}
    for (site, kind, units), numbers in zip(layout.atoms(), columns, strict=True):
        if numbers:
            users.setdefault((site, kind), []).extend([numbers] * units)
    pool = Structure(tuple(layout.kept([bool(numbers) for numbers in columns])), options)
    ordered = tuple(numbers for m in pool.modules for numbers in users[m.site, m.kind])
    return SharedStructure(tuple(tasks), pool, ordered)


def _scales_of_units(layout: Layout, structure: SharedStructure, scales: Tensor) -> Tensor:
    """Return the scales of atoms (tasks, atoms) as those of the structure's units, (tasks, units)."""
    by_module: dict[tuple[Site, str], list[Tensor]] = {}
    for atom, (site, kind, units) in enumerate(layout.atoms()):
        by_module.setdefault((site, kind), []).append(scales[:, atom : atom + 1].expand(-1, units))
    columns = [column for m in structure.modules for column in by_module[m.site, m.kind]]
    return torch.cat(columns, dim=1) if columns else scales[:, :0]
