"""Index a supernet's atoms and units in flat tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .adapter import Adapter, SiteAdapter
from .gate_graph import block_by_block
from .kinds import KINDS
from .module_spec import ModuleSpec
from .site_module import SiteModule
from .sites import Site
from .space import Space


@dataclass(frozen=True)
class Part:
    """One module of one site with its atoms and units.

    Attributes:
        site: the site that it belongs to.
        name: its class.
        units: number of its units.
        atoms: (kind, units in the atom), in unit order.
    """

    site: SiteAdapter
    name: str
    units: int
    atoms: list[tuple[str, int]]

    @property
    def module(self) -> SiteModule:
        return self.site.part(self.name)

    def open_modules(self, is_open: Sequence[bool]) -> list[ModuleSpec]:
        """Return the modules of the part with its open atoms alone; ``is_open`` has one flag per atom."""
        units: dict[str, list[int]] = {}
        offsets = dict.fromkeys(self.site.modules_by_kind, 0)
        for (kind, count), is_kept in zip(self.atoms, is_open, strict=True):
            if is_kept:
                units.setdefault(kind, []).extend(range(offsets[kind], offsets[kind] + count))
            offsets[kind] += count
        return [self.site.modules_by_kind[kind].only(numbers) for kind, numbers in units.items()]


class Layout:
    """Atoms and units of an adapter, numbered in the order of its sites and their parts.

    Args:
        adapter: the modules.
        space: the candidates, which say how large atoms are.
        layers: number of blocks of the model.

    Attributes:
        parts: the modules.
        params: number of parameters of all atoms.
        costs: (atoms,) parameters of each atom.
        unit_atom: (units,) number of the atom that each unit belongs to.
        kinds: names of the candidate kinds.
        layer: (atoms,) block of each atom, from 0.
        kind: (atoms,) number of its kind among ``kinds``.
    """

    def __init__(self, adapter: Adapter, space: Space, layers: int, device: torch.device):
        self.layers = layers
        self.kinds = [kind for kind in KINDS if space.candidates.get(kind) and space.candidates[kind].size]
        self.parts: list[Part] = []
        costs: list[int] = []
        unit_atom: list[int] = []
        atom_layers: list[int] = []
        atom_kinds: list[int] = []
        for site in adapter.site_adapters():
            for name, sizes in site.kinds.items():
                atoms = [
                    (kind, min(space.group(kind), size - start))
                    for kind, size in sizes.items()
                    for start in range(0, size, space.group(kind))
                ]
                for kind, units in atoms:
                    unit_atom += [len(costs)] * units
                    costs.append(units * KINDS[kind].unit_cost(site.site))
                    atom_layers.append(site.site.layer)
                    atom_kinds.append(self.kinds.index(kind))
                self.parts.append(Part(site, name, sum(sizes.values()), atoms))
        self.params = sum(costs)
        self.costs = torch.tensor(costs, dtype=torch.float32, device=device)
        self.unit_atom = torch.tensor(unit_atom, dtype=torch.long, device=device)
        self.layer = torch.tensor(atom_layers, dtype=torch.long, device=device)
        self.kind = torch.tensor(atom_kinds, dtype=torch.long, device=device)

    def by_part(self, values: Tensor) -> tuple[Tensor, ...]:
        """Expand values of atoms (..., atoms) to the units of each part, (..., units of the part)."""
        return values[..., self.unit_atom].split([part.units for part in self.parts], dim=-1)

    def by_part_reentrant(self, values: Tensor) -> tuple[Tensor, ...]:
        """Expand (atoms,) as :meth:`by_part`, for blocks that run backward one by one, see :func:`.block_by_block`."""
        return block_by_block(values, self.unit_atom, [part.units for part in self.parts])

    def fold(self, gates: Tensor) -> None:
        """Multiply gates (atoms,) into the weights of their units."""
        for part, gate in zip(self.parts, self.by_part(gates), strict=True):
            part.module.fold(gate)

    def open_modules(self, is_open: Sequence[bool]) -> list[ModuleSpec]:
        """Return the modules with their open atoms alone; ``is_open`` has one flag per atom."""
        modules: list[ModuleSpec] = []
        start = 0
        for part in self.parts:
            modules += part.open_modules(is_open[start : start + len(part.atoms)])
            start += len(part.atoms)
        return modules

    def weights(self) -> Tensor:
        """Return all parameters concatenated, (parameters,)."""
        vectors = [parameter.detach().reshape(-1) for _, parameter, _ in self.parameters()]
        return torch.cat(vectors) if vectors else self.costs.new_zeros(0)

    def parameters(self) -> Iterator[tuple[Part, nn.Parameter, int]]:
        """Yield all parameters in a fixed order, with their part and unit dimension."""
        for part in self.parts:
            for name, dim in part.module.unit_dims.items():
                parameter = getattr(part.module, name, None)
                if parameter is not None:
                    yield part, parameter, dim

    def atom_of_parameters(self) -> Tensor:
        """Return the atom of each number in :meth:`parameters`, concatenated, (parameters,)."""
        atoms = dict(zip(map(id, self.parts), self.by_part(torch.arange(len(self.costs))), strict=True))
        numbers = []
        for part, parameter, dim in self.parameters():
            unit_atoms = atoms[id(part)][part.units - parameter.shape[dim] :]  # a hidden bias has none for LoRA's units
            shape = [-1 if d == dim else 1 for d in range(parameter.ndim)]
            numbers.append(unit_atoms.view(shape).expand(parameter.shape).reshape(-1))
        return torch.cat(numbers).to(self.costs.device)

    def crowds(self) -> Tensor:
        """Return the group of each atom, (atoms,): atoms of one kind in one block do much the same.

        Entries of spectral cores lie between orthogonal directions, and each is a group of its own.
        """
        kinds = self.kind
        is_positional = torch.tensor([KINDS[kind].positional for kind in self.kinds], device=kinds.device)[kinds]
        shared_groups = self.layer * len(self.kinds) + kinds
        first_own_group = self.layers * len(self.kinds)
        own_groups = first_own_group + torch.arange(len(kinds), device=kinds.device)
        return torch.where(is_positional, own_groups, shared_groups)

    def atoms(self) -> Iterator[tuple[Site, str, int]]:
        """Yield the site, kind and number of units of each atom."""
        for part in self.parts:
            for kind, units in part.atoms:
                yield part.site.site, kind, units
