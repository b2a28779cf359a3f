"""The structure and the adapter at the end of a search over several tasks."""

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
    """The uses of atoms at the end of a search, and their scales.

    Attributes:
        scales: (tasks, atoms) factor of each atom for each task.
        uses: (tasks, atoms) of bool, whether a task uses an atom.
    """

    scales: Tensor
    uses: Tensor

    def to(self, device: torch.device) -> Outcome:
        """Return a copy on a device."""
        return Outcome(self.scales.to(device), self.uses.to(device))

    def adapter(self, adapter: Adapter, layout: Layout, tasks: Sequence[str]) -> SharedAdapter:
        """Return the adapter that the tasks share.

        Args:
            adapter: holds the weights.
            layout: the atoms.
            tasks: names of the tasks.
        """
        structure = shared_structure(layout, tasks, self.uses, adapter.options)
        return SharedAdapter(adapter, structure, _scales_of_units(layout, structure, self.scales))


def shared_structure(layout: Layout, tasks: Sequence[str], uses: Tensor, options: ModuleOptions) -> SharedStructure:
    """Return the structure in which each task uses its atoms.

    Args:
        layout: the atoms.
        tasks: names of the tasks.
        uses: (tasks, atoms) of bool, whether a task uses an atom.
        options: options of the modules.
    """
    atom_users: list[Users] = [tuple(column.nonzero().squeeze(1).tolist()) for column in uses.T.cpu()]
    users_by_module: dict[tuple[Site, str], list[Users]] = {}
    for (site, kind, units), users in zip(layout.atoms(), atom_users, strict=True):
        if users:
            users_by_module.setdefault((site, kind), []).extend([users] * units)
    pool = Structure(tuple(layout.open_modules([bool(users) for users in atom_users])), options)
    unit_users = tuple(users for m in pool.modules for users in users_by_module[m.site, m.kind])
    return SharedStructure(tuple(tasks), pool, unit_users)


def _scales_of_units(layout: Layout, structure: SharedStructure, scales: Tensor) -> Tensor:
    """Expand the scales of atoms (tasks, atoms) to the units of the structure, (tasks, units)."""
    by_module: dict[tuple[Site, str], list[Tensor]] = {}
    for atom, (site, kind, units) in enumerate(layout.atoms()):
        by_module.setdefault((site, kind), []).append(scales[:, atom : atom + 1].expand(-1, units))
    columns = [column for m in structure.modules for column in by_module[m.site, m.kind]]
    return torch.cat(columns, dim=1) if columns else scales[:, :0]
