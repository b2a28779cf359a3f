"""A task more for a trained pool: it may use what is there and adds modules of its own; the others stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SlatError
from .kinds import KINDS
from .shared_adapter import SharedAdapter
from .shared_supernet import SharedSupernet
from .site_module import SiteModule
from .sites import Site
from .space import Candidate, Space
from .structure import Structure
from .task_gates import TaskGates


class ExtendedSupernet(SharedSupernet):
    """A supernet over a trained pool, for one further task.

    Weights of the pool are frozen, bit for bit, and what its tasks use stays theirs. The new task has gates over the
    pool's units, where a use costs ``sharing`` of what they cost as they are paid already, and over new candidates. So
    after :meth:`settle` each earlier task has the adapter that it had before, and ``alone`` gives the same weights.

    Train with the new task alone: ``switch(len(tasks) - 1)``.

    Args:
        pool: the trained pool; it is only read, and must not stand on the backbone any more.
        space: new candidates. A site that holds a bias, norm or IA3 of the pool gets no second one.
        task: name of the new task.
        backbone, sites, sharing, gate_kind, gate_init, groups, saliency: as of :class:`SharedSupernet`.

    Raises:
        SlatError: the task is there already, or sizes in the pool are not whole atoms of the space.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[Site],
        space: Space,
        pool: SharedAdapter,
        task: str,
        sharing: float = 0.0,
        gate_kind: str = "sigmoid",
        gate_init: float = 1.0,
        groups: Sequence[str] = (),
        saliency: Mapping[str, float] | None = None,
    ):
        self._pool = pool.structure
        if task in self._pool.tasks:
            raise SlatError(f"structure: the pool has a task {task!r} already")
        if space.options != self._pool.options:
            raise SlatError("space: activation and scale must be those of the pool")
        for module in self._pool.modules:
            if module.kind in space.candidates and module.size % space.group(module.kind):
                raise SlatError(
                    f"space: {module.size} {module.kind} at {module.site.name} are no whole groups of the pool"
                )
        others = {m.kind: Candidate(1) for m in self._pool.modules if m.kind not in space.candidates}
        self._new = space
        #: module, which of its units are the pool's, and by parameter where those stand and their weights
        self._weights: list[tuple[SiteModule, Tensor, dict[str, tuple[Tensor, Tensor]]]] = []
        self._scales_before = pool.scales
        tasks = (*self._pool.tasks, task)
        whole = replace(space, candidates={**space.candidates, **others})
        super().__init__(backbone, sites, whole, tasks, sharing, gate_kind, gate_init, groups, saliency)
        self._freeze(pool)
        self.switch(len(tasks) - 1)

    def _whole(self, sites: Sequence[Site]) -> Structure:
        """The pool's units, and after them at each site and of each kind the new ones."""
        whole = {(m.site, m.kind): m for m in self._pool.modules}
        for module in self._new.supernet(sites).modules:
            key = module.site, module.kind
            there = whole.get(key)
            if there is None or KINDS[module.kind].positional:
                whole[key] = module if there is None else module.joined(there)
            elif KINDS[module.kind].sized:
                whole[key] = replace(there, size=there.size + module.size)
        return Structure(tuple(whole.values()), self._new.options)

    def _pool_atoms(self) -> list[Tensor | None]:
        """For each atom the scales of its unit for the pool's tasks, (tasks,); None for a new atom."""
        known: dict[tuple[str, str], dict[Any, Tensor]] = {}
        start = 0
        for module in self._pool.modules:
            labels = module.entries or range(module.size)  # entries have places, other units of the pool come first
            columns = (self._scales_before[:, start + unit] for unit in range(module.size))
            known[module.site.name, module.kind] = dict(zip(labels, columns, strict=True))
            start += module.size
        atoms: list[Tensor | None] = []
        for part in self.parts:
            passed = dict.fromkeys(part.site.modules_by_kind, 0)
            for kind, units in part.atoms:
                module, at = part.site.modules_by_kind[kind], passed[kind]
                theirs = known.get((part.site.site.name, kind), {})
                atoms.append(theirs.get(module.entries[at] if module.entries else at))
                passed[kind] = at + units
        return atoms

    def _given(self) -> Tensor:
        columns = [torch.zeros(len(self._pool.tasks)) if c is None else c.cpu() for c in self._pool_atoms()]
        return torch.stack(columns, dim=1)

    def _freeze(self, pool: SharedAdapter) -> None:
        """Copy the pool's weights to where they stand now, and remember them."""
        old = torch.tensor([c is not None for c in self._pool_atoms()], device=self.costs.device)
        self.frozen_params = int(self.costs[old].sum())
        trained = {site.site.name: site for site in pool.adapter.site_adapters()}
        for part, flag in zip(self.parts, self.layout.by_part(old), strict=True):
            if not flag.any():
                continue
            before, now = trained[part.site.site.name].part(part.name), part.module
            values = {name: getattr(before, name, None) for name in before.unit_dims}
            known = {name: value.detach().clone() for name, value in values.items() if value is not None}
            self._weights.append((now, flag, _placed(now, flag, known)))
        self.after_update()

    @torch.no_grad()
    def after_update(self) -> None:
        """Put the pool's weights back, bit for bit, where an optimiser may have moved them."""
        for part, _, kept in self._weights:
            for name, (places, value) in kept.items():
                getattr(part, name).index_copy_(part.unit_dims[name], places, value)

    def _frozen(self) -> Sequence[nn.Module]:
        return [part for part, _, _ in self._weights]

    def _remove(self, closed: Tensor, optimiser: torch.optim.Optimizer | None) -> int:
        """Units that leave move the places of those that stay."""
        stay = self.layout.by_part(~closed)
        by_part = {id(part.module): keep for part, keep in zip(self.parts, stay, strict=True)}
        removed = super()._remove(closed, optimiser)
        for place, (part, flag, kept) in enumerate(self._weights):
            left = flag[by_part[id(part)]]
            self._weights[place] = part, left, _placed(part, left, {name: value for name, (_, value) in kept.items()})
        return removed

    @torch.no_grad()
    def fit(self, budget: float) -> int:
        """As of :meth:`Supernet.fit`, among new atoms."""
        assert isinstance(self.gates, TaskGates)
        return self._remove((self.costs > budget) & ~self.gates.active[:-1].any(dim=0), None)

    def hold(self, budget: float) -> None:
        """As of :meth:`Supernet.hold`; the budget is for what is new."""
        super().hold(budget + self.frozen_params)


def _placed(part: SiteModule, flag: Tensor, values: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Weights of the flagged units (units,) of a module, by parameter, with where they stand in it."""
    places, found = flag.nonzero().squeeze(1), {}
    for name, value in values.items():
        first = len(flag) - getattr(part, name).shape[part.unit_dims[name]]  # a hidden bias has none for LoRA's units
        found[name] = (places[places >= first] - first, value)
    return found
