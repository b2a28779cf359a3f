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
    """The adapter of a pool; each task uses its own units of it, at scales of its own.

    Example::

        shared = attach_shared(backbone, structure)
        shared.switch("rte")
        logits = heads["rte"](backbone(**batch))

    Args:
        adapter: holds the pool's weights.
        structure: the pool, and the tasks that use each of its units.
        scales: (tasks, units) factor of each unit for each task, 0 where the task does not use it; by default 1 where
            it does.

    Attributes:
        task: name of the task whose units are open.
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
        self._units = self._units_of_parts()
        self._unit_order = torch.cat([*self._units.values(), torch.zeros(0, dtype=torch.long, device=device)])
        self.switch(self.task)

    def _units_of_parts(self) -> dict[tuple[str, str], Tensor]:
        """Return (site, part) -> numbers of its units in the pool, in the order of the part."""
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
            SlatError: the pool has no such task.
        """
        gates = self.scales[self.structure.number(task)][self._unit_order].split([len(p) for p in self._units.values()])
        self.task = task
        sites = {site.site.name: site for site in self.adapter.site_adapters()}
        for (site_name, name), gate in zip(self._units, gates, strict=True):
            sites[site_name].gates[name] = gate

    @torch.no_grad()
    def alone(self, task: str) -> tuple[Structure, dict[str, Tensor]]:
        """Return what one task uses as an adapter of its own: a structure, and weights by name for
        :func:`attach_alone`.

        Scales are multiplied into the weights, so its output is that of the pool switched to the task, up to rounding.
        """
        number = self.structure.number(task)
        weights: dict[str, Tensor] = {}
        for key, site in zip(self.adapter.sites, self.adapter.site_adapters(), strict=True):
            for name in site.kinds:
                part = site.part(name)
                units = self._units[site.site.name, name]
                own_units = self._uses[number][units.cpu()].nonzero().squeeze(1).to(units.device)
                for parameter, value in _unit_weights(part, own_units, self.scales[number][units]).items():
                    weights[f"sites.{key}.parts.{name}.{parameter}"] = value
        return self.structure.of(task), weights

    def detach(self) -> None:
        """Remove the hooks from the backbone."""
        self.adapter.detach()


def _unit_weights(part: SiteModule, units: Tensor, gate: Tensor) -> dict[str, Tensor]:
    """Return parameter name -> weights of ``units`` (numbers in the part), with ``gate`` (units,) multiplied in."""
    weights = {}
    for name, dim in part.unit_dims.items():
        value = getattr(part, name, None)
        if value is None:
            continue
        offset = len(gate) - value.shape[dim]  # a hidden bias has none for LoRA's units, which come first
        index = units[units >= offset] - offset
        if len(index):
            selection = value.index_select(dim, index)
            shape = [1] * selection.ndim
            shape[dim] = -1
            weights[name] = selection * gate[index + offset].view(shape) if name in part.foldable else selection
    return weights


def attach_shared(backbone: nn.Module, structure: SharedStructure) -> SharedAdapter:
    """Put a pool with untrained weights on ``backbone``, switched to its first task.

    Raises:
        SlatError: the structure does not fit the model.
    """
    return SharedAdapter(attach(backbone, structure.pool), structure)


def attach_alone(backbone: nn.Module, structure: Structure, weights: Mapping[str, Tensor]) -> Adapter:
    """Put an adapter from :meth:`SharedAdapter.alone` on ``backbone``."""
    adapter = attach(backbone, structure)
    adapter.load_state_dict(dict(weights))
    return adapter
