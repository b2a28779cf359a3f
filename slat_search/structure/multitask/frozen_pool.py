"""Frozen modules of earlier tasks, for the search of a further task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import SlatError
from ..kinds import KINDS
from ..layout import Layout
from ..site_module import SiteModule
from ..sites import Site
from ..space import Candidate, Space
from ..structure import Structure
from .shared_adapter import SharedAdapter

#: parameter name -> positions of the pool's units in it, and their weights
_Weights = dict[str, tuple[Tensor, Tensor]]


class FrozenPool:
    """Modules of earlier tasks in a supernet: their weights stay bit for bit, and so do the uses of those tasks.

    A further task has gates over the pool's units and over new candidates. As the pool is paid for already, a use of
    one of its units costs the fraction ``sharing`` of its parameters.

    Args:
        pool: the trained modules; they are only read, and must be detached from the backbone.
        space: new candidates. A site that holds a bias, norm or IA3 of the pool gets no second one.

    Attributes:
        space: the new candidates and those of the pool.
        params: parameters of the pool's units, once :meth:`freeze` was called.

    Raises:
        SlatError: options that differ from the pool's, or sizes in the pool that are not whole atoms of the space.
    """

    def __init__(self, pool: SharedAdapter, space: Space):
        if space.options != pool.structure.options:
            raise SlatError("space: activation and scale must be those of the pool")
        for module in pool.structure.modules:
            if module.kind in space.candidates and module.size % space.group(module.kind):
                raise SlatError(
                    f"space: {module.size} {module.kind} at {module.site.name} are no whole groups of the pool"
                )
        pool_candidates = {m.kind: Candidate(1) for m in pool.structure.modules if m.kind not in space.candidates}
        self.space = replace(space, candidates={**space.candidates, **pool_candidates})
        self.params = 0
        self._new_space = space
        self._pool = pool
        #: module, mask of its units that are the pool's (units,), and their weights
        self._weights: list[tuple[SiteModule, Tensor, _Weights]] = []

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the names of the earlier tasks."""
        return self._pool.structure.tasks

    @property
    def modules(self) -> Sequence[nn.Module]:
        """Return the modules with frozen weights."""
        return [module for module, _, _ in self._weights]

    def structure(self, sites: Sequence[Site]) -> Structure:
        """Return the structure of the pool and the new candidates; in each module the pool's units come first."""
        structure = {(m.site, m.kind): m for m in self._pool.structure.modules}
        for module in self._new_space.supernet(sites).modules:
            key = module.site, module.kind
            pool_module = structure.get(key)
            if pool_module is None or KINDS[module.kind].positional:
                structure[key] = module if pool_module is None else module.joined(pool_module)
            elif KINDS[module.kind].sized:
                structure[key] = replace(pool_module, size=pool_module.size + module.size)
        return Structure(tuple(structure.values()), self._new_space.options)

    def scales(self, layout: Layout) -> Tensor:
        """Return the scale of each atom for each earlier task, (earlier tasks, atoms); 0 for new atoms."""
        columns = [torch.zeros(len(self.tasks)) if c is None else c.cpu() for c in self._scales_by_atom(layout)]
        return torch.stack(columns, dim=1)

    def _scales_by_atom(self, layout: Layout) -> list[Tensor | None]:
        """Return for each atom its scales for the earlier tasks, (earlier tasks,); None for a new atom."""
        scales_by_module: dict[tuple[str, str], dict[Any, Tensor]] = {}
        start = 0
        for module in self._pool.structure.modules:
            labels = module.entries or range(module.size)  # entries have positions, other units of the pool come first
            columns = (self._pool.scales[:, start + unit] for unit in range(module.size))
            scales_by_module[module.site.name, module.kind] = dict(zip(labels, columns, strict=True))
            start += module.size
        atoms: list[Tensor | None] = []
        for part in layout.parts:
            offsets = dict.fromkeys(part.site.modules_by_kind, 0)
            for kind, units in part.atoms:
                module, offset = part.site.modules_by_kind[kind], offsets[kind]
                by_unit = scales_by_module.get((part.site.site.name, kind), {})
                atoms.append(by_unit.get(module.entries[offset] if module.entries else offset))
                offsets[kind] = offset + units
        return atoms

    def freeze(self, layout: Layout) -> None:
        """Copy the pool's weights to their positions in ``layout``, and store them for :meth:`restore`."""
        is_pooled = torch.tensor([c is not None for c in self._scales_by_atom(layout)], device=layout.costs.device)
        self.params = int(layout.costs[is_pooled].sum())
        pool_sites = {site.site.name: site for site in self._pool.adapter.site_adapters()}
        for part, mask in zip(layout.parts, layout.by_part(is_pooled), strict=True):
            if not mask.any():
                continue
            source, target = pool_sites[part.site.site.name].part(part.name), part.module
            values = {name: getattr(source, name, None) for name in source.unit_dims}
            weights = {name: value.detach().clone() for name, value in values.items() if value is not None}
            self._weights.append((target, mask, _positioned(target, mask, weights)))
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Restore the pool's weights bit for bit, as an optimizer may have moved them."""
        for module, _, weights in self._weights:
            for name, (positions, value) in weights.items():
                getattr(module, name).index_copy_(module.unit_dims[name], positions, value)

    def follow(self, masks: Mapping[nn.Module, Tensor]) -> None:
        """Adjust to a removal of units; ``masks``: module -> the units that stayed, (units,) of bool."""
        for number, (module, mask, weights) in enumerate(self._weights):
            remaining = mask[masks[module]]
            values = {name: value for name, (_, value) in weights.items()}
            self._weights[number] = module, remaining, _positioned(module, remaining, values)


def _positioned(module: SiteModule, mask: Tensor, values: Mapping[str, Tensor]) -> _Weights:
    """Return parameter name -> positions of the units in ``mask`` (units,) and their weights, for one module."""
    positions, weights = mask.nonzero().squeeze(1), {}
    for name, value in values.items():
        offset = len(mask) - getattr(module, name).shape[module.unit_dims[name]]  # hidden biases: none for LoRA
        weights[name] = (positions[positions >= offset] - offset, value)
    return weights
