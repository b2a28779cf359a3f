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

#: parameter name -> where the pool's units stand in it, and their weights
_Weights = dict[str, tuple[Tensor, Tensor]]


class FrozenPool:
    """Modules of earlier tasks in a supernet: their weights stay bit for bit, and what those tasks use stays theirs.

    A further task has gates over their units, where a use costs ``sharing`` of what they cost as they are paid already,
    and over new candidates.

    Args:
        pool: the trained modules; they are only read, and must not stand on the backbone any more.
        space: new candidates. A site that holds a bias, norm or IA3 of the pool gets no second one.

    Attributes:
        space: candidates of both.
        params: parameters of the pool's units, once :meth:`freeze` was called.

    Raises:
        SlatError: other options, or sizes in the pool that are not whole atoms of the space.
    """

    def __init__(self, pool: SharedAdapter, space: Space):
        if space.options != pool.structure.options:
            raise SlatError("space: activation and scale must be those of the pool")
        for module in pool.structure.modules:
            if module.kind in space.candidates and module.size % space.group(module.kind):
                raise SlatError(
                    f"space: {module.size} {module.kind} at {module.site.name} are no whole groups of the pool"
                )
        others = {m.kind: Candidate(1) for m in pool.structure.modules if m.kind not in space.candidates}
        self.space = replace(space, candidates={**space.candidates, **others})
        self.params = 0
        self._new = space
        self._pool = pool
        #: module, which of its units are the pool's, and their weights
        self._weights: list[tuple[SiteModule, Tensor, _Weights]] = []

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the earlier tasks."""
        return self._pool.structure.tasks

    @property
    def modules(self) -> Sequence[nn.Module]:
        """Modules with frozen weights."""
        return [module for module, _, _ in self._weights]

    def whole(self, sites: Sequence[Site]) -> Structure:
        """Return the pool's units, and after them at each site and of each kind the new ones."""
        whole = {(m.site, m.kind): m for m in self._pool.structure.modules}
        for module in self._new.supernet(sites).modules:
            key = module.site, module.kind
            there = whole.get(key)
            if there is None or KINDS[module.kind].positional:
                whole[key] = module if there is None else module.joined(there)
            elif KINDS[module.kind].sized:
                whole[key] = replace(there, size=there.size + module.size)
        return Structure(tuple(whole.values()), self._new.options)

    def scales(self, layout: Layout) -> Tensor:
        """Return the scale of each atom for each earlier task, (earlier tasks, atoms); 0 for new atoms."""
        columns = [torch.zeros(len(self.tasks)) if c is None else c.cpu() for c in self._columns(layout)]
        return torch.stack(columns, dim=1)

    def _columns(self, layout: Layout) -> list[Tensor | None]:
        """Return for each atom the scales of its unit for the earlier tasks, (earlier tasks,); None for a new atom."""
        known: dict[tuple[str, str], dict[Any, Tensor]] = {}
        start = 0
        for module in self._pool.structure.modules:
            labels = module.entries or range(module.size)  # entries have places, other units of the pool come first
            columns = (self._pool.scales[:, start + unit] for unit in range(module.size))
            known[module.site.name, module.kind] = dict(zip(labels, columns, strict=True))
            start += module.size
        atoms: list[Tensor | None] = []
        for part in layout.parts:
            passed = dict.fromkeys(part.site.modules_by_kind, 0)
            for kind, units in part.atoms:
                module, at = part.site.modules_by_kind[kind], passed[kind]
                by_unit = known.get((part.site.site.name, kind), {})
                atoms.append(by_unit.get(module.entries[at] if module.entries else at))
                passed[kind] = at + units
        return atoms

    def freeze(self, layout: Layout) -> None:
        """Copy the pool's weights to their places in ``layout``, and remember them."""
        old = torch.tensor([c is not None for c in self._columns(layout)], device=layout.costs.device)
        self.params = int(layout.costs[old].sum())
        trained = {site.site.name: site for site in self._pool.adapter.site_adapters()}
        for part, flag in zip(layout.parts, layout.by_part(old), strict=True):
            if not flag.any():
                continue
            before, now = trained[part.site.site.name].part(part.name), part.module
            values = {name: getattr(before, name, None) for name in before.unit_dims}
            known = {name: value.detach().clone() for name, value in values.items() if value is not None}
            self._weights.append((now, flag, _placed(now, flag, known)))
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Put the pool's weights back, bit for bit, where an optimizer may have moved them."""
        for module, _, weights in self._weights:
            for name, (places, value) in weights.items():
                getattr(module, name).index_copy_(module.unit_dims[name], places, value)

    def follow(self, stays: Mapping[nn.Module, Tensor]) -> None:
        """Follow a removal of units; ``stays`` says of each module which of its units (units,) stayed."""
        for number, (module, flag, weights) in enumerate(self._weights):
            left = flag[stays[module]]
            values = {name: value for name, (_, value) in weights.items()}
            self._weights[number] = module, left, _placed(module, left, values)


def _placed(module: SiteModule, flag: Tensor, values: Mapping[str, Tensor]) -> _Weights:
    """Return the weights of the flagged units (units,) of a module, by parameter, with where they stand in it."""
    places, weights = flag.nonzero().squeeze(1), {}
    for name, value in values.items():
        first = len(flag) - getattr(module, name).shape[module.unit_dims[name]]  # hidden biases: none for LoRA
        weights[name] = (places[places >= first] - first, value)
    return weights
