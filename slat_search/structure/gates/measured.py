"""Measured gates, which are not trained: 1 until an atom of too little worth closes."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ..extra_state import pack, unpack
from ..options import SearchOptions
from .base import Gates
from .task_gates import TaskGates


class MeasuredGates(Gates):
    """Gates whose ``alpha`` is the logarithm of each atom's measured worth per parameter.

    The trained structure is always compact: remaining atoms are fully open.

    Args:
        costs: (atoms,) parameters of each atom.
        init: value of ``alpha`` before the first measurement; positive = open.

    Attributes:
        seen: whether anything was measured.
    """

    soft = False
    log_costs: Tensor

    def __init__(self, costs: Tensor, init: float):
        super().__init__()
        self.register_buffer("alpha", torch.full((len(costs),), float(init)))
        self.register_buffer("log_costs", costs.log())
        self.seen = False

    @classmethod
    def over_tasks(cls, rows: Sequence[Self], options: SearchOptions, fixed: Tensor | None) -> MeasuredTaskGates:
        return MeasuredTaskGates(rows, options, fixed)

    def get_extra_state(self) -> Tensor:
        """Return the state that is not in tensors, packed."""
        return pack(self._extra())

    def set_extra_state(self, state: Tensor) -> None:
        self._set_extra(unpack(state))

    def _extra(self) -> dict[str, float]:
        return {"seen": self.seen}

    def _set_extra(self, values: Mapping[str, float]) -> None:
        self.seen = bool(values["seen"])

    def take_measurements(self, average: Callable[[Tensor], Tensor] | None) -> None:
        """Update from the backward passes of a step, see :meth:`.TaskGates.take_measurements`."""

    def density(self) -> Tensor:
        """Return the log worth per parameter of each atom, (atoms,)."""
        return self.alpha

    def sample(self) -> Tensor:
        return torch.ones_like(self.alpha)

    def values(self) -> Tensor:
        return torch.ones_like(self.alpha)

    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        self.alpha = self.alpha.index_select(0, atoms)
        self.log_costs = self.log_costs.index_select(0, atoms)
        return []


class MeasuredTaskGates(TaskGates[MeasuredGates]):
    r"""Rows of measured gates.

    At a price :math:`p` of a parameter the users of an atom are the set that gains most,
    :math:`\max_S \sum_{t \in S} s_{ta} - p\, c_a (1 + \kappa (|S| - 1))`: the task that needs it most, and each other
    that gains more than :math:`\kappa p c_a`. The atom is open while that is above 0, so its worth per parameter is
    :math:`\max_n \sum_{i \le n} s_{(i)a} / (c_a (1 + \kappa (n - 1)))` over its ``n`` most salient tasks. The best atom
    stays open at any price; under a budget those of largest worth do.

    Tasks differ in how much loss is at stake while atoms are chosen: one that learns late has next to none. With
    ``worth`` ``equal`` each task's saliency is scaled to the same sum over atoms (the geometric mean of all tasks'), so
    that it counts as a fraction.
    """

    def __init__(self, rows: Sequence[MeasuredGates], options: SearchOptions, fixed: Tensor | None = None):
        super().__init__(rows, options, fixed)
        self.equal_worth = options.worth == "equal" and len(self.searching) > 1

    @property
    def seen(self) -> bool:
        """Whether anything was measured for every task."""
        return all(row.seen for row in self.searching)

    @property
    def log_costs(self) -> Tensor:
        """Return the logarithm of the parameters of each atom, (atoms,)."""
        return self.each[0].log_costs

    @torch.no_grad()
    def take_measurements(self, average: Callable[[Tensor], Tensor] | None = None) -> None:
        for row in self.searching:
            row.take_measurements(average)

    def _densities(self) -> Tensor:
        """Return the logarithm of each task's saliency for each parameter, (tasks, atoms)."""
        densities = torch.stack([row.density() for row in self.each])
        if self.equal_worth and self.seen:
            totals = (densities + self.log_costs).masked_fill(~self.active, -torch.inf).logsumexp(dim=1)
            searched_totals = totals[len(self.given) :]
            mean = searched_totals[searched_totals.isfinite()].mean()  # over tasks that use some atom
            densities = densities - totals[:, None] + mean
        return self._with_fixed(densities, torch.inf)

    def density(self) -> Tensor:
        """Return the log worth of each atom to all tasks per parameter paid, (atoms,)."""
        if not self.seen:
            return self.each[0].alpha
        densities = self._densities().sort(dim=0, descending=True).values
        further_users = torch.arange(len(densities), device=densities.device, dtype=densities.dtype)
        log_cost_factors = (1 + self.sharing * further_users).log()
        return (densities.logcumsumexp(dim=0) - log_cost_factors[:, None]).amax(dim=0)

    def logits(self) -> Tensor:
        return self.density() - self._log_price() if self.seen else self.density()

    def _log_price(self) -> float:
        return math.log(max(self.price, sys.float_info.min))

    def importance(self) -> Tensor:
        return (self.density() + self.log_costs).exp()

    def average_importance(self, costs: Tensor, total: float) -> float:
        worth = self.importance()
        is_finite = worth.isfinite()  # atoms that earlier tasks use stay, whatever their worth
        free_params = total - float(costs[~is_finite].double().sum())
        return float(worth[is_finite].double().sum()) / max(1.0, free_params)

    @torch.no_grad()
    def is_open(self) -> Tensor:
        """Return the atoms that are worth their price, (atoms,) of bool; the best one always is."""
        logits = self.logits()
        is_open = logits > 0
        if self.seen and len(logits):
            is_open[logits.argmax()] = True
        return is_open

    def expected(self) -> Tensor:
        users = self.users(self.is_open()).to(torch.float32).sum(dim=0)
        return torch.where(users > 0, 1 + self.sharing * (users - 1), 0.0)

    def scores_and_uses(self, open_atoms: Tensor, in_budget: bool) -> tuple[Tensor, Tensor]:
        if not self.seen or not open_atoms.any():
            return self.active.to(torch.float32), self.active
        densities = self._densities()
        price = float(self.density()[open_atoms].min()) if in_budget else self._log_price()
        return densities, densities > price + (math.log(self.sharing) if self.sharing > 0 else -math.inf)
