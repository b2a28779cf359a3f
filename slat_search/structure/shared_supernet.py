"""One pool of candidates for several tasks, each of which opens its own part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from . import sparsity
from .gates import Gates
from .optimiser import replace_parameter
from .screening import Screening
from .shared import SharedStructure
from .shared_adapter import SharedAdapter
from .sites import Site
from .space import Space
from .structure import Structure
from .supernet import Supernet
from .task_gates import TaskGates
from .turning import turn_to_principal_directions


class SharedSupernet(Supernet):
    """A :class:`Supernet` with a row of gates a task; before a batch, :meth:`switch` says whose it is.

    An atom stands while some task uses it. What a structure costs is what stands, once, and what further users pay; see
    :class:`.TaskGates`.

    Args:
        tasks: names.
        sharing: what a further user of an atom pays of it.
        equal: whether saliency counts as a share of the task's own.
        backbone, sites, space, gate_kind, gate_init, groups, saliency: as of :class:`Supernet`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[Site],
        space: Space,
        tasks: Sequence[str],
        sharing: float = 0.0,
        gate_kind: str = "sigmoid",
        gate_init: float = 1.0,
        groups: Sequence[str] = (),
        saliency: Mapping[str, float] | None = None,
        equal: bool = False,
    ):
        self.tasks = tuple(tasks)
        self.sharing = sharing
        self.equal = equal
        self.scales: Tensor | None = None  # (tasks, atoms) once settled, as the next
        self.uses: Tensor | None = None
        self._task = 0
        super().__init__(backbone, sites, space, gate_kind, gate_init, groups, saliency)

    def _gates(self, kind: str, init: float, groups: Sequence[str], options: Mapping[str, float]) -> TaskGates:
        rows = [super(SharedSupernet, self)._gates(kind, init, groups, options) for _ in self.tasks]
        return TaskGates([row for row in rows if isinstance(row, Gates)], self.sharing, self._given(), self.equal)

    def _given(self) -> Tensor | None:
        """Gates of the first tasks, (given tasks, atoms), where they are not to be found."""
        return None

    def switch(self, task: int) -> None:
        """The batches that follow are of the task of this number."""
        self._task = task
        if isinstance(self.gates, TaskGates):
            self.gates.task = task

    def _screening(self) -> Screening:
        assert isinstance(self.gates, TaskGates)
        row = self.gates.rows[self._task]
        assert isinstance(row, Screening)
        return row

    def _screened(self) -> list[Screening]:
        """Of the tasks whose part is to be found."""
        assert isinstance(self.gates, TaskGates)
        return [row for row in self.gates.rows[len(self.gates.given) :] if isinstance(row, Screening)]

    def _drawn(self) -> Tensor:
        if self.training and self.gates is not None:
            return self.gates.sample()
        return self._scales()[self._task]

    def _users(self) -> Tensor:
        """Who uses which atom of the discretised structure, (tasks, atoms) of bool."""
        if self.uses is not None:
            return self.uses
        assert isinstance(self.gates, TaskGates)
        return self.gates.users(self._is_open(), held=self.budget is not None)

    def _scales(self) -> Tensor:
        """Gate of each atom for each task in the discretised structure, (tasks, atoms)."""
        if self.scales is not None:
            return self.scales
        assert isinstance(self.gates, TaskGates)
        return self.gates.values() * self._users()

    def structure(self) -> SharedStructure:  # type: ignore[override]
        """The discretised structure of all tasks."""
        columns = [tuple(column.nonzero().squeeze(1).tolist()) for column in self._users().T.cpu()]
        users: dict[tuple[Site, str], list[tuple[int, ...]]] = {}
        atoms = [(part.site.site, kind, units) for part in self.parts for kind, units in part.atoms]
        for (site, kind, units), tasks in zip(atoms, columns, strict=True):
            if tasks:
                users.setdefault((site, kind), []).extend([tasks] * units)
        pool = Structure(tuple(self.layout.kept([bool(tasks) for tasks in columns])), self.space.options)
        ordered = tuple(one for m in pool.modules for one in users[m.site, m.kind])
        return SharedStructure(self.tasks, pool, ordered)

    @torch.no_grad()
    def turn(self, optimiser: Optimizer | None = None) -> None:
        """As of :meth:`Supernet.turn`, but for LoRAs whose ranks have different users: their directions stay."""
        if not isinstance(self.gates, TaskGates):
            return
        flags = self.layout.by_part(self.gates.active)
        mixed = []
        for part, uses in zip(self.parts, flags, strict=True):
            ranks = uses[:, : sum(units for kind, units in part.atoms if kind == "lora")]
            if ranks.shape[1] and bool((ranks != ranks[:, :1]).any()):
                mixed.append(part.module)
        turn_to_principal_directions(self.adapter, optimiser, left_out=[*mixed, *self._frozen()])

    def _frozen(self) -> Sequence[nn.Module]:
        """Modules that hold something that must stay as it is."""
        return ()

    @torch.no_grad()
    def shrink(self, optimiser: Optimizer | None = None, below: float = 0.05) -> int:
        """Close uses, and physically remove atoms that have none left; optimiser state follows. Returns how many.

        Of trained gates a use under ``below`` closes, but not those that would be needed to fill a budget twice.
        """
        if not isinstance(self.gates, TaskGates):
            return 0
        if self.gates.soft:
            uses = self.gates.values() >= below
            if self.budget is not None:
                uses = uses | sparsity.open_within(self.gates.logits(), self.costs, 2 * self.budget)
        else:
            uses = self._users()
        self.gates.close(uses)
        return self._remove(~self.gates.active.any(dim=0), optimiser)

    @torch.no_grad()
    def settle(self, optimiser: Optimizer | None = None) -> SharedAdapter:  # type: ignore[override]
        """End the search: what is not used leaves, gates become fixed scales of each task.

        The output for each task is that of ``eval()`` just before. Nothing open is a valid end: bare heads.
        """
        if isinstance(self.gates, TaskGates):
            self.gates.close(self._users())
            self._remove(~self.gates.active.any(dim=0), optimiser)
            self.scales, self.uses = self.gates.values(), self.gates.active
            if optimiser is not None:
                for variable in self.gates.variables:
                    replace_parameter(optimiser, variable, None)
            self._drop_gates()
        assert self.scales is not None
        structure = self.structure()
        return SharedAdapter(self.adapter, structure, self._in_order(structure, self.scales))

    def _in_order(self, structure: SharedStructure, scales: Tensor) -> Tensor:
        """Scales of atoms as those of the structure's units, (tasks, units)."""
        found: dict[tuple[str, str], Tensor] = {}
        atom = 0
        for part in self.parts:
            for kind, units in part.atoms:
                key = part.site.site.name, kind
                mine = scales[:, atom : atom + 1].expand(-1, units)
                found[key] = torch.cat([found[key], mine], dim=1) if key in found else mine
                atom += 1
        columns = [found[m.site.name, m.kind] for m in structure.modules]
        return torch.cat(columns, dim=1) if columns else scales[:, :0]

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "scales": self.scales, "uses": self.uses}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.scales, self.uses = state["scales"], state["uses"]
