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
    r"""A row of :class:`Gates` for each task, and the atoms that remain because of them.

    Tasks share a set of modules, and each has structure variables of its own (arXiv 2509.03057, section on several
    tasks). An atom that ``n`` tasks use costs

    .. math:: c_a\,(1 + \kappa\,(n - 1)), \qquad n \ge 1

    with ``sharing`` :math:`\kappa`: at 0 it is paid once and further users are free, which favors overlap; at 1 each
    user pays as if it were alone; above 1 overlap is discouraged. A closed use stays closed. The uses of the first
    tasks may be fixed: their atoms are paid for already.

    Args:
        rows: gates of each task, all of one class and over the same atoms.
        options: ``sharing`` and ``worth``.
        fixed: (fixed tasks, atoms) gates of the first tasks, 0 for unused atoms; None to search every task.

    Attributes:
        task: number of the task whose gates are sampled.
        active: (tasks, atoms) uses that are not closed.
        given: (fixed tasks, atoms) gates of the fixed tasks.
        price: rise of the loss that a parameter must prevent; for measured gates.
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
        """Return the rows of the tasks that are searched."""
        return self.each[len(self.given) :]

    @property
    def soft(self) -> bool:
        return self.each[0].soft

    @property
    def variables(self) -> list[nn.Parameter]:
        """Return the structure variables that an optimizer trains."""
        return [variable for row in self.searching for variable in row.variables]

    @property
    def paid(self) -> Tensor:
        """Return the atoms that a fixed task uses, (atoms,) of bool."""
        return (self.given != 0).any(dim=0)

    def set_temperature(self, value: float) -> None:
        """Set the temperature of trained gates; measured ones have none."""

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
            average: returns the mean of a tensor over processes; None for one process.
        """

    def record(self, gradient: Tensor) -> None:
        """Record the gradients (parameters,) of one batch of the current task, for :meth:`decide`.

        Raises:
            ValueError: gates that are not judged by recorded gradients.
        """
        raise self._unsupported()

    def decide(self) -> None:
        """Judge the atoms of every task by the recorded gradients.

        Raises:
            ValueError: nothing was recorded, or gates that are not judged by recorded gradients.
        """
        raise self._unsupported()

    def _unsupported(self) -> ValueError:
        return ValueError(f"gates of class {type(self.each[0]).__name__} are not judged by recorded gradients")

    @abstractmethod
    def expected(self) -> Tensor:
        """Return the expected multiple of each atom's cost, (atoms,); above 1 where several users pay for it."""

    @abstractmethod
    def logits(self) -> Tensor:
        """Return the logits that rank atoms, (atoms,); positive = open."""

    def importance(self) -> Tensor | None:
        """Return the estimated loss increase without each atom, (atoms,); None if unknown."""
        return None

    def set_budget(self, costs: Tensor, budget: float) -> None:
        """Make the expected cost equal ``budget``, for gates that hold it by more than the choice of atoms.

        Args:
            costs: (atoms,) parameters of each atom.
            budget: expected parameters.
        """

    def still_needed(self, users: Tensor, below: float, costs: Tensor, budget: float | None) -> Tensor:
        """Return the uses that must not close yet, (tasks, atoms) of bool: here those of the discretized structure.

        Args:
            users: (tasks, atoms) of bool, the uses of the discretized structure.
            below: value under which a trained gate is as good as closed.
            costs: (atoms,) parameters of each atom.
            budget: parameters that the structure fills; None without a budget.
        """
        return users

    def average_importance(self, costs: Tensor, total: float) -> float:
        """Return the mean loss increase per parameter of the whole space; 0 if not measured.

        Args:
            costs: (atoms,) parameters of each atom.
            total: parameters of the space, including those of removed atoms.
        """
        return 0.0

    @torch.no_grad()
    def is_open(self) -> Tensor:
        """Return the atoms that some task uses, (atoms,) of bool."""
        return self.logits() > 0

    @abstractmethod
    def scores_and_uses(self, open_atoms: Tensor, in_budget: bool) -> tuple[Tensor, Tensor]:
        """Return each task's score for each atom, and whether the task uses it, both (tasks, atoms)."""

    @torch.no_grad()
    def users(self, open_atoms: Tensor, in_budget: bool = False) -> Tensor:
        """Return the tasks that use each of the open atoms, (tasks, atoms) of bool; each has at least one.

        Args:
            open_atoms: (atoms,) of bool.
            in_budget: whether a budget chose the atoms, so that the least worthy one sets the price.
        """
        scores, uses = self.scores_and_uses(open_atoms, in_budget)
        first = nn.functional.one_hot(scores.argmax(dim=0), len(scores)).T.bool()
        return (uses | first) & self.active & open_atoms

    def _with_fixed(self, values: Tensor, fixed_value: float) -> Tensor:
        """Return ``values`` (tasks, atoms) with ``fixed_value`` for uses of fixed tasks, -inf for closed uses."""
        values = values.masked_fill(~self.active, -torch.inf)
        fixed = torch.where(self.given != 0, fixed_value, -torch.inf)
        return torch.cat([fixed, values[len(self.given) :]])

    @torch.no_grad()
    def close(self, uses: Tensor) -> None:
        """Close all uses but ``uses`` (tasks, atoms); those of fixed tasks stay."""
        uses[: len(self.given)] = True
        closed_uses = self.active & ~uses
        self.active &= uses
        for row, atoms in zip(self.each, closed_uses, strict=True):
            row.close(atoms)  # so that a closed atom has no rank among the open ones

    @torch.no_grad()
    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Keep only ``atoms`` (indices). Returns old and new structure variables, for the optimizer's state."""
        self.active = self.active.index_select(1, atoms)
        self.given = self.given.index_select(1, atoms)
        return [change for row in self.each for change in row.keep(atoms)]

    def get_extra_state(self) -> Tensor:
        """Return the state that is not in tensors, packed."""
        return pack({"task": self.task, "price": self.price})

    def set_extra_state(self, state: Tensor) -> None:
        values = unpack(state)
        self.task, self.price = values["task"], values["price"]
