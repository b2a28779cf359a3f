"""The supernet: every candidate at every site, behind one flat tensor of gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .adapter import Adapter, SiteAdapter, attach
from .gates import Gates
from .kinds import KINDS, SiteModule
from .optimiser import replace_parameter
from .sites import Site
from .space import Space
from .structure import ModuleSpec, Structure


@dataclass(frozen=True)
class _Part:
    """One module of one site and where its atoms and units lie in the flat tensors."""

    site: SiteAdapter
    name: str
    units: int
    atoms: list[tuple[str, int]]  # (kind, units in the atom), in unit order


class Supernet(nn.Module):
    """Gated candidates on a frozen backbone, for any PyTorch training loop.

    Gates are drawn at the start of each forward pass of ``backbone``: sampled while ``training``, those of
    the discretised structure in ``eval()`` (closed atoms 0, open atoms at their value). So whatever is
    evaluated is exactly what :meth:`settle` turns into a compact adapter.

    Example::

        supernet = Supernet(backbone, find_sites(backbone), space)
        for step, batch in enumerate(loader):
            loss = task_loss(backbone(**batch)) + weight * supernet.cost()
            ...
            supernet.shrink(optimiser)
        adapter = supernet.settle(optimiser)

    Args:
        backbone: a frozen model.
        sites: where candidates may stand.
        space: which candidates.
        gate_kind: see :class:`Gates`.
        gate_init: first value of all structure variables.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[Site],
        space: Space,
        gate_kind: str = "sigmoid",
        gate_init: float = 1.0,
    ):
        super().__init__()
        self.space = space
        self.adapter: Adapter = attach(backbone, space.supernet(sites))
        device = next(backbone.parameters()).device
        self._index(device)
        self.gates: Gates | None = Gates(len(self.costs), gate_kind, gate_init).to(device)
        self.total_cost = float(self.costs.sum())
        self._pre_hook = backbone.register_forward_pre_hook(lambda module, args: self.draw())

    def _index(self, device: torch.device) -> None:
        """Lay out atoms and units flat, in the order of sites and their parts."""
        self.parts: list[_Part] = []
        costs: list[int] = []
        unit_atom: list[int] = []
        for site in self.adapter.site_adapters():
            for name, sizes in site.kinds.items():
                atoms = [
                    (kind, min(self.space.group(kind), size - start))
                    for kind, size in sizes.items()
                    for start in range(0, size, self.space.group(kind))
                ]
                for kind, units in atoms:
                    unit_atom += [len(costs)] * units
                    costs.append(units * KINDS[kind].unit_cost(site.site))
                self.parts.append(_Part(site, name, sum(sizes.values()), atoms))
        self.costs = torch.tensor(costs, dtype=torch.float32, device=device)
        self.unit_atom = torch.tensor(unit_atom, dtype=torch.long, device=device)

    # -- while searching -------------------------------------------------------------------------------

    def draw(self) -> None:
        """Give every module its gate for the coming forward pass (one gather for the whole model)."""
        if self.gates is None or not self.parts:
            return
        z = self.gates.sample() if self.training else self.gates.values() * self.gates.is_open()
        for part, gate in zip(self.parts, z[self.unit_atom].split([p.units for p in self.parts]), strict=True):
            part.site.gates[part.name] = gate

    def cost(self) -> Tensor:
        r"""Expected share of the supernet's parameters, :math:`\sum_a c_a E[z_a] / \sum_a c_a`, a scalar.

        The denominator is that of the whole supernet and stays so when atoms are removed.
        """
        if self.gates is None:
            return self.costs.new_zeros(())
        return (self.costs * self.gates.expected()).sum() / self.total_cost

    def structure(self) -> Structure:
        """The discretised structure: the atoms whose gate is above one half."""
        if self.gates is None:
            return self.adapter.structure
        is_open = self.gates.is_open().tolist()
        modules, atom = [], 0
        for part in self.parts:
            sizes: dict[str, int] = {}
            for kind, units in part.atoms:
                if is_open[atom]:
                    sizes[kind] = sizes.get(kind, 0) + units
                atom += 1
            modules += [ModuleSpec(part.site.site, kind, size) for kind, size in sizes.items()]
        return Structure(tuple(modules), self.space.options)

    # -- closing atoms ---------------------------------------------------------------------------------

    @torch.no_grad()
    def shrink(self, optimiser: Optimizer | None = None, below: float = 0.05) -> int:
        """Physically remove atoms whose gate is under ``below``; optimiser state follows. Returns how many."""
        if self.gates is None:
            return 0
        return self._remove(self.gates.values() < below, optimiser)

    @torch.no_grad()
    def settle(self, optimiser: Optimizer | None = None) -> Adapter:
        """End the search: remove closed atoms, multiply the open gates into the weights, drop the gates.

        The output is that of ``eval()`` just before. All atoms closed is a valid end: the bare head.
        """
        if self.gates is not None:
            self._remove(~self.gates.is_open(), optimiser)
            z = self.gates.values()
            for part, gate in zip(self.parts, z[self.unit_atom].split([p.units for p in self.parts]), strict=True):
                module: SiteModule = part.site.parts[part.name]  # type: ignore[assignment]
                module.fold(gate)
                part.site.gates.clear()
            if optimiser is not None:
                replace_parameter(optimiser, self.gates.alpha, None)
            self.gates = None
        return self.adapter

    def _remove(self, closed: Tensor, optimiser: Optimizer | None) -> int:
        removed = int(closed.sum())
        if removed == 0 or self.gates is None:
            return 0
        flags = closed[self.unit_atom].split([p.units for p in self.parts])
        for part, flag in zip(self.parts, flags, strict=True):
            if not flag.any():
                continue
            for old, new, dim, index in part.site.keep(part.name, (~flag).nonzero().squeeze(1)):
                if optimiser is not None:
                    replace_parameter(optimiser, old, new, dim, index)
        self.adapter.drop_empty_sites()
        keep = (~closed).nonzero().squeeze(1)
        old_alpha = self.gates.alpha
        self.gates.alpha = nn.Parameter(old_alpha.index_select(0, keep))
        if optimiser is not None:
            replace_parameter(optimiser, old_alpha, self.gates.alpha, 0, keep)
        self._index(closed.device)
        return removed

    def detach(self) -> None:
        """Take everything off the backbone again."""
        self._pre_hook.remove()
        self.adapter.detach()
