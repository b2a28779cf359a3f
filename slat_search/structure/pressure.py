"""The pressure on the size of a supernet: a weight of sparsity, or a budget."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import sparsity
from .gates import TaskGates


class Pressure:
    """Pressure on the atoms of a supernet. Methods take its ``gates`` and the ``costs`` (atoms,) of remaining atoms.

    Args:
        total: parameters of the whole supernet. Costs are fractions of it, so they stay comparable as atoms leave.

    Attributes:
        weight: sparsity weight: the worth per parameter that an atom needs, as a multiple of the worth of an average
            parameter of the space.
        budget: parameters that the discretized structure fills; None for the weight.
    """

    def __init__(self, total: float):
        self.total = total
        self.weight = 0.0
        self.budget: float | None = None

    def cost(self, gates: TaskGates[Any], costs: Tensor) -> Tensor:
        """Return the expected cost as a fraction of the whole supernet's, a scalar."""
        if not len(costs):
            return costs.new_zeros(())
        return sparsity.parameter_cost(gates.expected(), costs, self.total)

    def loss(self, gates: TaskGates[Any], costs: Tensor) -> Tensor:
        """Set the price of measured gates; return the loss of trained ones, a scalar, else 0."""
        self.set_price(gates, costs, self.weight)
        return self.weight * self.cost(gates, costs) if gates.variables else costs.new_zeros(())

    def set_price(self, gates: TaskGates[Any], costs: Tensor, weight: float) -> None:
        """Set the price of a parameter of measured gates for a weight."""
        gates.price = weight * gates.average_importance(costs, self.total)

    def set_budget(self, gates: TaskGates[Any] | None, costs: Tensor, budget: float) -> None:
        """Make the expected cost of trained gates equal ``budget``, which the structure then fills."""
        self.budget = budget
        if gates is not None and len(costs):
            gates.set_budget(costs, budget)

    def users(self, gates: TaskGates[Any], costs: Tensor) -> Tensor:
        """Return the uses of the discretized structure, (tasks, atoms) of bool.

        Its atoms are the open ones, or under a budget the most open ones that fit into it.
        """
        if self.budget is None:
            return gates.users(gates.is_open())
        logits = gates.logits().detach()
        return gates.users(sparsity.open_within(logits, costs, self.budget, gates.importance()), in_budget=True)
