"""Gates that the optimizer trains together with the weights."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from ..extra_state import pack, unpack
from ..sparsity import open_within, shift_to_budget
from .base import Gates
from .task_gates import TaskGates

if TYPE_CHECKING:
    from ..layout import Layout
    from ..options import SearchOptions

# Stretch of the hard-concrete distribution and its temperature, as in Louizos et al. 2018, section 4.1.
_LOW, _HIGH, _BETA = -0.1, 1.1, 2 / 3
_OPEN = 50.0  # logit of a use of a fixed task


class TrainedGates(Gates):
    r"""Gates with a trained variable each, whose logit is :math:`\alpha_a / \tau - \zeta`.

    The shift :math:`\zeta` is 0 without a budget; see :func:`.sparsity.shift_to_budget`.

    Args:
        atoms: number of atoms.
        init: first value of every variable; positive = open.

    Attributes:
        temperature: :math:`\tau`.
    """

    soft = True
    alpha: nn.Parameter
    shift: Tensor

    def __init__(self, atoms: int, init: float = 1.0):
        super().__init__()
        self.temperature = 1.0
        self.alpha = nn.Parameter(torch.full((atoms,), float(init)))
        self.register_buffer("shift", torch.zeros(()))

    @classmethod
    def build(cls, layout: Layout, options: SearchOptions) -> Self:
        return cls(len(layout.costs), options.init)

    @classmethod
    def over_tasks(cls, rows: Sequence[Self], options: SearchOptions, fixed: Tensor | None) -> TrainedTaskGates:
        return TrainedTaskGates(rows, options, fixed)

    def get_extra_state(self) -> Tensor:
        """Return the state that is not in tensors, packed."""
        return pack({"temperature": self.temperature})

    def set_extra_state(self, state: Tensor) -> None:
        self.temperature = unpack(state)["temperature"]

    @property
    def variables(self) -> list[nn.Parameter]:
        return [self.alpha]

    def logits(self) -> Tensor:
        """Return the gate logits, (atoms,); positive = open."""
        return self.alpha / self.temperature - self.shift

    @abstractmethod
    def expected(self) -> Tensor:
        """Return the probability that an atom is paid for, (atoms,): the ``E[z]`` of the sparsity term."""

    @torch.no_grad()
    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        old = self.alpha
        self.alpha = nn.Parameter(old.index_select(0, atoms), requires_grad=old.requires_grad)
        return [(old, self.alpha)]


class TrainedTaskGates(TaskGates[TrainedGates]):
    r"""Rows of trained gates.

    The expected cost is :math:`(1-\kappa)(1 - \prod_t (1 - p_{ta})) + \kappa \sum_t p_{ta}` times :math:`c_a`, with
    :math:`p_{ta}` the probability that task ``t`` uses the atom. A gate above one half is a use.
    """

    def set_temperature(self, value: float) -> None:
        for row in self.each:
            row.temperature = value

    @torch.no_grad()
    def shift_by(self, value: Tensor) -> None:
        """Set the shift of all logits, a scalar."""
        for row in self.each:
            row.shift.copy_(value)

    def set_budget(self, costs: Tensor, budget: float) -> None:
        shift_to_budget(self, costs, budget)

    def still_needed(self, users: Tensor, below: float, costs: Tensor, budget: float | None) -> Tensor:
        """Return the uses that must not close yet, (tasks, atoms) of bool.

        These are the uses of the discretized structure, those whose gate is at least ``below``, and under a budget
        those of the most open atoms that fill twice the budget: while gates are still alike, all of them are small, and
        the structure has yet to be chosen.
        """
        uses = users | (self.values() >= below)
        return uses if budget is None else uses | open_within(self.logits().detach(), costs, 2 * budget)

    def expected(self) -> Tensor:
        p = torch.stack([row.expected() for row in self.each]) * self.active
        if len(p) == 1:  # what the formula below gives, without its rounding
            return p[0]
        p = torch.cat([(self.given != 0).to(p.dtype), p[len(self.given) :]])
        return (1 - self.sharing) * (1 - (1 - p).prod(dim=0)) + self.sharing * p.sum(dim=0)

    def logits(self) -> Tensor:
        return self._logits().amax(dim=0)

    def _logits(self) -> Tensor:
        """Return the logits of every task, (tasks, atoms)."""
        return self._with_fixed(torch.stack([row.logits() for row in self.each]), _OPEN)

    def scores_and_uses(self, open_atoms: Tensor, in_budget: bool) -> tuple[Tensor, Tensor]:
        logits = self._logits()
        return logits, logits > 0


class Sigmoid(TrainedGates):
    r""":math:`z = \sigma(\alpha / \tau)`, deterministic; arXiv 2509.03057.

    Annealing :math:`\tau \to 0` drives the soft supernet towards its discretized structure.
    """

    def sample(self) -> Tensor:
        return self.logits().sigmoid()

    def expected(self) -> Tensor:
        return self.logits().sigmoid()

    @torch.no_grad()
    def values(self) -> Tensor:
        return self.logits().sigmoid()


class HardConcrete(TrainedGates):
    r"""Stretched and clipped concrete, with exact zeros while training; Louizos et al. 2018 (arXiv 1712.01312).

    Here :math:`\tau` divides ``alpha`` as well, so one schedule serves all trained gates.
    """

    def sample(self) -> Tensor:
        logits = self.logits()
        u = torch.rand_like(logits).clamp_(1e-6, 1 - 1e-6)
        soft = ((u.log() - (1 - u).log() + logits) / _BETA).sigmoid()
        return (soft * (_HIGH - _LOW) + _LOW).clamp(0, 1)

    def expected(self) -> Tensor:
        return (self.logits() - _BETA * math.log(-_LOW / _HIGH)).sigmoid()

    @torch.no_grad()
    def values(self) -> Tensor:
        return (self.logits().sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0, 1)
