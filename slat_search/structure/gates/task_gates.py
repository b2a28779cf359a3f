"""The gates of all tasks over one set of atoms: one row per task, one or more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from ..extra_state import pack, unpack
from ..options import SearchOptions
from .base import Gates

RowT = TypeVar("RowT", bound=Gates)


class TaskGates(nn.Module, ABC, Generic[RowT]):
    r"""A row of :class:`Gates` for each task, and what stands because of them.

    Tasks share a set of modules, and each has structure variables of its own (arXiv 2509.03057, section on several
    tasks). An atom that ``n`` tasks use costs

    .. math:: c_a\,(1 + \kappa\,(n - 1)), \qquad n \ge 1

    with ``sharing`` :math:`\kappa`: at 0 it is paid once and further users are free, which favors overlap; at 1 each
    user pays as if it were alone; above 1 overlap is discouraged. A use that was closed stays closed. The uses of some
    first tasks may be given and never change: what they use is paid already.

    Args:
        rows: gates of each task, all of one class and over the same atoms.
        options: ``sharing`` and ``worth``.
        fixed: (given tasks, atoms) gates of the first tasks, 0 for unused atoms; None to search every task.

    Attributes:
        task: number of the task whose gates are drawn.
        active: (tasks, atoms) uses that were not closed.
        price: loss that a parameter must be worth; of gates that are measured.
    """

    active: Tensor
    given: Tensor

    def __init__(self, rows: Sequence[RowT], options: SearchOptions, fixed: Tensor | None = None):
        super().__init__()
        self.each = list(rows)
        self.rows = nn.ModuleList(rows)
        self.sharing = options.sharing
        self.task = 0
        self.price = 0.0
        atoms = len(rows[0].alpha)
        self.register_buffer("given", fixed if fixed is not None else torch.zeros(0, atoms))
        active = torch.ones(len(rows), atoms, dtype=torch.bool)
        active[: len(self.given)] = self.given != 0
        self.register_buffer("active", active)

    @property
    def searching(self) -> list[RowT]:
        """Rows of the tasks that are searched."""
        return self.each[len(self.given) :]

    @property
    def soft(self) -> bool:
        return self.each[0].soft

    @property
    def variables(self) -> list[nn.Parameter]:
        """The structure variables that an optimizer trains."""
        return [variable for row in self.searching for variable in row.variables]

    @property
    def paid(self) -> Tensor:
        """Atoms that a given task uses, (atoms,) of bool."""
        return (self.given != 0).any(dim=0)

    def set_temperature(self, value: float) -> None:
        """Set the temperature of trained gates; those that are measured have none."""

    def sample(self) -> Tensor:
        """Return the gates of the current task for one training step, (atoms,)."""
        if self.task < len(self.given):
            return self.given[self.task]
        return self.each[self.task].sample() * self.active[self.task]

    @torch.no_grad()
    def values(self) -> Tensor:
        """Return deterministic gates of every task, (tasks, atoms)."""
        values = torch.stack([row.values() for row in self.each]) * self.active
        return torch.cat([self.given, values[len(self.given) :]])

    def take_measurements(self, average: Callable[[Tensor], Tensor] | None = None) -> None:
        """Update measured gates from the backward passes of a step; other gates ignore it.

        Args:
            average: the mean of a tensor over processes; None for one process.
        """

    def record(self, gradient: Tensor) -> None:
        """Take the gradients (parameters,) of one batch of the current task into account, and :meth:`decide` by them.

        Raises:
            ValueError: gates that are not judged so.
        """
        raise self._not_judged()

    def decide(self) -> None:
        """Judge the atoms of every task by the recorded gradients.

        Raises:
            ValueError: nothing was recorded, or gates that are not judged so.
        """
        raise self._not_judged()

    def _not_judged(self) -> ValueError:
        return ValueError(f"gates of class {type(self.each[0]).__name__} are not judged by recorded gradients")

    @abstractmethod
    def expected(self) -> Tensor:
        """Return the share of each atom's cost that is expected to be paid, (atoms,); above 1 where users pay again."""

    @abstractmethod
    def logits(self) -> Tensor:
        """Return the logits that rank atoms, (atoms,); positive = open."""

    def importance(self) -> Tensor | None:
        """Return the estimated loss increase without each atom, (atoms,); None if unknown."""
        return None

    def set_budget(self, costs: Tensor, budget: float) -> None:
        """Make the expected cost equal ``budget``, where it is not the choice of atoms alone that holds it.

        Args:
            costs: (atoms,) parameters of each atom.
            budget: expected parameters.
        """

    def still_needed(self, users: Tensor, below: float, costs: Tensor, budget: float | None) -> Tensor:
        """Return the uses that may not close yet, (tasks, atoms) of bool: here those of the discretized structure.

        Args:
            users: (tasks, atoms) of bool, the uses of the discretized structure.
            below: value under which a trained gate is as good as closed.
            costs: (atoms,) parameters of each atom.
            budget: parameters that the structure fills; None without a budget.
        """
        return users

    def average_importance(self, costs: Tensor, whole: float) -> float:
        """Return the mean loss increase per parameter of the whole space; 0 if not measured.

        Args:
            costs: (atoms,) parameters of each atom.
            whole: parameters of the space, those of atoms that have left among them.
        """
        return 0.0

    @torch.no_grad()
    def is_open(self) -> Tensor:
        """Return the atoms that some task uses, (atoms,) of bool."""
        return self.logits() > 0

    @abstractmethod
    def wanted(self, chosen: Tensor, in_budget: bool) -> tuple[Tensor, Tensor]:
        """Return each task's score for each atom, and whether it uses it, both (tasks, atoms)."""

    @torch.no_grad()
    def users(self, chosen: Tensor, in_budget: bool = False) -> Tensor:
        """Return the tasks that use each of the atoms that stand, (tasks, atoms) of bool; each has at least one.

        Args:
            chosen: (atoms,) of bool.
            in_budget: whether a budget chose the atoms, so that the least worthy one sets the price.
        """
        strength, uses = self.wanted(chosen, in_budget)
        first = nn.functional.one_hot(strength.argmax(dim=0), len(strength)).T.bool()
        return (uses | first) & self.active & chosen

    def _with_given(self, values: Tensor, most: float) -> Tensor:
        """Return ``values`` (tasks, atoms) where a task may use an atom, ``most`` where it is given that it does."""
        values = values.masked_fill(~self.active, -torch.inf)
        fixed = torch.where(self.given != 0, most, -torch.inf)
        return torch.cat([fixed, values[len(self.given) :]])

    @torch.no_grad()
    def close(self, uses: Tensor) -> None:
        """Keep only ``uses`` (tasks, atoms) of those that are active; given ones stay."""
        uses[: len(self.given)] = True
        shut = self.active & ~uses
        self.active &= uses
        for row, closed in zip(self.each, shut, strict=True):
            row.close(closed)  # so that it takes no place among those that stand

    @torch.no_grad()
    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Keep only ``atoms`` (indices); returns old and new structure variables, for an optimizer to follow."""
        self.active = self.active.index_select(1, atoms)
        self.given = self.given.index_select(1, atoms)
        return [change for row in self.each for change in row.keep(atoms)]

    def get_extra_state(self) -> Tensor:
        """Return what ``state_dict`` has beside tensors."""
        return pack({"task": self.task, "price": self.price})

    def set_extra_state(self, state: Tensor) -> None:
        values = unpack(state)
        self.task, self.price = values["task"], values["price"]
