"""The trained pool of several tasks on one backbone, switched from task to task."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..adapter import Adapter, attach
from ..site_module import SiteModule
from ..structure import Structure
from .shared_structure import SharedStructure


class SharedAdapter(nn.Module):
    """One adapter a pool; each task sees its own units of it, at scales of its own.

    Example::

        shared = attach_shared(backbone, structure)
        shared.switch("rte")
        logits = heads["rte"](backbone(**batch))

    Args:
        adapter: holds the pool's weights.
        structure: who uses what.
        scales: (tasks, units) factor of each unit for each task, 0 where it is not used; by default 1 where it is.

    Attributes:
        task: the one whose units are open.
    """

    scales: Tensor

    def __init__(self, adapter: Adapter, structure: SharedStructure, scales: Tensor | None = None):
        super().__init__()
        self.adapter = adapter
        self.structure = structure
        self.task = structure.tasks[0]
        device = next((p.device for p in adapter.parameters()), torch.device("cpu"))
        self._uses = torch.zeros(len(structure.tasks), len(structure.users), dtype=torch.bool)
        for unit, users in enumerate(structure.users):
            self._uses[list(users), unit] = True
        self.register_buffer("scales", (self._uses.float() if scales is None else scales).to(device))
        self._places = self._units_of_parts()
        self._all = torch.cat([*self._places.values(), torch.zeros(0, dtype=torch.long, device=device)])
        self.switch(self.task)

    def _units_of_parts(self) -> dict[tuple[str, str], Tensor]:
        """(site, part) -> numbers in the pool of its units, in their order there."""
        starts: dict[tuple[str, str], int] = {}
        start = 0
        for module in self.structure.modules:
            starts[module.site.name, module.kind] = start
            start += module.size
        return {
            (site.site.name, name): torch.cat(
                [torch.arange(size) + starts[site.site.name, kind] for kind, size in sizes.items()]
            ).to(self.scales.device)
            for site in self.adapter.site_adapters()
            for name, sizes in site.kinds.items()
        }

    @torch.no_grad()
    def switch(self, task: str) -> None:
        """Open the units of ``task`` and no others.

        Raises:
            SlatError: no such task.
        """
        gates = self.scales[self.structure.number(task)][self._all].split([len(p) for p in self._places.values()])
        self.task = task
        sites = {site.site.name: site for site in self.adapter.site_adapters()}
        for (place, name), gate in zip(self._places, gates, strict=True):
            sites[place].gates[name] = gate

    @torch.no_grad()
    def alone(self, task: str) -> tuple[Structure, dict[str, Tensor]]:
        """Return the part that one task uses as an adapter of its own: a structure, and weights by name for
        :func:`.attach`.

        Scales are multiplied into the weights, so its output is that of the pool switched to the task, to rounding.
        """
        number = self.structure.number(task)
        weights: dict[str, Tensor] = {}
        for key, site in zip(self.adapter.sites, self.adapter.site_adapters(), strict=True):
            for name in site.kinds:
                part = site.part(name)
                places = self._places[site.site.name, name]
                used = self._uses[number][places.cpu()].nonzero().squeeze(1).to(places.device)
                for parameter, value in _of_units(part, used, self.scales[number][places]).items():
                    weights[f"sites.{key}.parts.{name}.{parameter}"] = value
        return self.structure.of(task), weights

    def detach(self) -> None:
        """Take everything off the backbone again."""
        self.adapter.detach()


def _of_units(part: SiteModule, units: Tensor, gate: Tensor) -> dict[str, Tensor]:
    """Return the weights of ``units`` (their numbers), with ``gate`` (units,) multiplied in."""
    weights = {}
    for name, dim in part.unit_dims.items():
        value = getattr(part, name, None)
        if value is None:
            continue
        first = len(gate) - value.shape[dim]  # a hidden bias has none for LoRA's units, which come first
        index = units[units >= first] - first
        if len(index):
            chosen = value.index_select(dim, index)
            shape = [1] * chosen.ndim
            shape[dim] = -1
            weights[name] = chosen * gate[index + first].view(shape) if name in part.foldable else chosen
    return weights


def attach_shared(backbone: nn.Module, structure: SharedStructure) -> SharedAdapter:
    """Put a pool on ``backbone``, switched to its first task; fresh weights.

    Raises:
        SlatError: the structure does not fit the model.
    """
    return SharedAdapter(attach(backbone, structure.pool), structure)


def attach_alone(backbone: nn.Module, structure: Structure, weights: Mapping[str, Tensor]) -> Adapter:
    """Put what :meth:`SharedAdapter.alone` gave on ``backbone``."""
    adapter = attach(backbone, structure)
    adapter.load_state_dict(dict(weights))
    return adapter
