"""One structure search: gates and weights learn together over the frozen backbone."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ..controller import Controller
from ..errors import SlatError
from ..structure import GATES, Screening, Supernet
from ..structure.gates.screening import ScreeningTaskGates


@dataclass(frozen=True)
class SearchPlan:
    """Size pressure of one search; its phases are in the supernet's :class:`.SearchOptions`.

    Attributes:
        sparsity: weight ``lambda`` of the cost term, ignored under a budget. For measured gates its unit is the worth
            of an average parameter of the space.
        budget: final adapter parameters; larger atoms are no candidates. None to use the weight.
        gate_learning_rate: Adam step of the structure variables; gates that are measured have none.
        whole: parameters that the modules' learning rate is for; None for those of the supernet.

    Raises:
        SlatError: a sparsity or budget that is no finite number of at least 0.
    """

    sparsity: float = 0.0
    budget: float | None = None
    gate_learning_rate: float = 0.1
    whole: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("sparsity", self.sparsity), ("budget", 0.0 if self.budget is None else self.budget)):
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
                raise SlatError(f"SearchPlan: {name} must be a finite number of at least 0, not {value!r}")


_MOST = 0.1  # of all candidates, that stand beside or instead of a smaller structure


class SupernetController(Controller):
    """Base of all searches: a supernet under a plan, whose learning rate grows as it shrinks.

    Args:
        supernet: what is searched.
        plan: pressure.
        steps: of the training.
    """

    warms_up = True

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        self.supernet = supernet
        self.plan = plan
        self.start = round(supernet.options.warmup * steps)
        self.every = max(1, round(supernet.options.shrink_every * steps))
        if plan.budget is not None:
            supernet.drop_oversized(plan.budget)

    def state_dict(self) -> dict[str, float]:
        """Return what the next step depends on beside the supernet, which keeps its own."""
        return {"pace": self.lr_factor}

    def load_state_dict(self, state: Mapping[str, float], step: int) -> None:
        """Resume after ``step`` with a supernet in its state of then."""
        self.lr_factor = state["pace"]

    def _keep_pace(self) -> None:
        """Set the factor on the modules' learning rate: how many times fewer parameters stand, to a power."""
        whole, left = self.plan.whole or self.supernet.pressure.total, self.supernet.params
        self.lr_factor = (whole / left) ** self.supernet.options.lr_growth if left else 1.0


class ScreeningSearch(SupernetController):
    r"""Search with gates of kind ``screening``: judge first, then train the choice and a shrinking surplus.

    Phases: *warm-up* trains the head alone, for which nothing goes backward through the model; *screening* goes on with
    it while the gradients of all candidates, at zero, are recorded. The size of the structure is the budget, or what is
    worth :math:`\lambda` times what an average parameter of the space is; ``surplus`` times as much stays. *Pruning*
    trains that while its size falls geometrically to the structure's, what is worth least first (gradual pruning: Zhu
    and Gupta 2017, arXiv 1710.01878); *settled* trains what is left as a compact adapter. The optimizer sees the
    screening's gradients at a learning rate of 0, so its moments are there at the first real step.

    Attributes:
        size: new parameters that the structure ends with; 0 until the screening is over.
        judged: the step at which it ended.
    """

    _LEAST = 4  # batches of each task

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        super().__init__(supernet, plan, steps)
        self.end = self.start + max(self._LEAST, round(supernet.options.screen * steps))
        self.latest = max(self.end, (self.start + steps) // 2)  # so that of few steps some are left to train in
        self.pruned = round(supernet.options.pruned * steps)
        self.size, self.judged = 0.0, 0
        self._enter(0)

    def _enter(self, step: int) -> None:
        """Disable candidates in the warm-up; freeze them in the screening."""
        if self.supernet.gates is None:
            return
        self.supernet.adapter.active = step >= self.start
        if step >= self.start and not self.judged:
            self.lr_factor = 0.0

    def state_dict(self) -> dict[str, float]:
        return {**super().state_dict(), "size": self.size, "judged": self.judged}

    def load_state_dict(self, state: Mapping[str, float], step: int) -> None:
        self.size, self.judged = state.get("size", 0.0), int(state.get("judged", 0))  # earlier versions had no surplus
        self._enter(step)
        super().load_state_dict(state, step)

    def after_step(self, step: int, optimizer: Optimizer) -> None:
        self.supernet.after_update()
        gates = self.supernet.gates
        if not isinstance(gates, ScreeningTaskGates):
            return
        if step > self.start:
            self.supernet.record_gradients()
        if self.judged:
            self._prune(step, gates, optimizer)
        elif step == self.start:
            self._enter(step)
        elif step >= self.end and gates.batches >= (self._LEAST if step < self.latest else 1):
            self.supernet.decide(self.plan.sparsity, self.plan.budget)
            self.size, self.judged = self.plan.budget or self.supernet.size, step
            if self.surplus > 1 and step < self.pruned:
                self.supernet.set_budget(self.size * self.surplus)
                self.supernet.shrink(optimizer)
            else:
                self.supernet.discretize(optimizer)
            self._keep_pace()

    @property
    def surplus(self) -> float:
        """Initial size as a multiple of the structure's: that of the options, but at most a tenth of the candidates, as
        more would train about as slowly as a whole supernet."""
        most = _MOST * self.supernet.pressure.total
        return min(self.supernet.options.surplus, max(1.0, most / max(1, self.size)))

    def _prune(self, step: int, gates: ScreeningTaskGates, optimizer: Optimizer) -> None:
        """Prune the least worthy atoms."""
        if step < self.pruned and (step - self.judged) % self.every:
            return
        passed = min(1.0, (step - self.judged) / (self.pruned - self.judged))
        gates.judge_trained(self.supernet.layout.weights())
        self.supernet.set_budget(self.size * self.surplus ** (1 - passed))
        if step < self.pruned:
            self.supernet.shrink(optimizer)
        else:
            self.supernet.discretize(optimizer)
        self._keep_pace()


class StructureSearch(SupernetController):
    r"""Search that trains all candidates; adds :math:`\lambda \sum_a c_a E[z_a] / \sum_a c_a`, shrinks.

    Phases: *warm-up* trains weights with all gates where they started, so that every atom has done
    something before it is judged; *search* moves the gates while :math:`\lambda` ramps up (or the budget
    falls from the whole supernet to its target, geometrically) and the temperature falls; *settle* trains what
    is left as a compact adapter. LoRA's ranks are rotated to their singular directions before any of them closes, if
    gates are 0 or 1. :math:`\lambda` and budget reach their ends half-way through the search, so
    that gates have time to answer.
    """

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        super().__init__(supernet, plan, steps)
        self.end = max(self.start + 1, round(supernet.options.settle * steps))
        self.ramp = 0.0
        self._move_gates(self.start == 0)

    def _move_gates(self, moving: bool) -> None:
        """Let the optimizer move the structure variables, or rest them."""
        for variable in self.supernet.gates.variables if self.supernet.gates is not None else ():
            variable.requires_grad_(moving)

    def state_dict(self) -> dict[str, float]:
        return {**super().state_dict(), "ramp": self.ramp}

    def load_state_dict(self, state: Mapping[str, float], step: int) -> None:
        super().load_state_dict(state, step)
        self.ramp = state["ramp"]
        self._move_gates(step >= self.start)

    def parameter_groups(self) -> list[dict[str, Any]]:
        variables = self.supernet.gates.variables if self.supernet.gates is not None else []
        if not variables:
            return []
        return [{"params": variables, "lr": self.plan.gate_learning_rate, "weight_decay": 0.0, "constant": True}]

    def before_step(self, passes: int | None) -> None:
        for row in self.supernet.gates.each if self.supernet.gates is not None else ():
            row.passes = passes

    def loss(self) -> Tensor | None:
        gates, plan = self.supernet.gates, self.plan
        if gates is None or not gates.variables or plan.budget is not None or self.ramp * plan.sparsity == 0:
            return None
        return self.ramp * (plan.sparsity * self.supernet.cost())

    def after_step(self, step: int, optimizer: Optimizer) -> None:
        self.supernet.after_update()
        gates, options = self.supernet.gates, self.supernet.options
        if gates is not None and not gates.soft and step < self.end and step % self.every == 0:
            self.supernet.rotate_to_svd(optimizer)
        if gates is None or step < self.start:
            return
        if step >= self.end:
            self.supernet.discretize(optimizer)
            self._keep_pace()
            return
        if step == self.start:
            self._move_gates(True)
        passed = (step - self.start) / (self.end - self.start)
        self.ramp = min(1.0, 2 * passed)
        first, last = options.temperature
        gates.set_temperature(first * (last / first) ** passed)
        self.supernet.pressure.set_price(gates, self.supernet.costs, self.ramp * self.plan.sparsity)
        if self.plan.budget is not None:
            whole = self.supernet.pressure.total
            self.supernet.set_budget(whole * (min(1.0, self.plan.budget / whole)) ** self.ramp)
        if step > self.start and (step - self.start) % self.every == 0:
            self.supernet.shrink(optimizer)
            self._keep_pace()


def controller_for(supernet: Supernet, plan: SearchPlan, steps: int) -> StructureSearch | ScreeningSearch:
    """Return the controller of a search with the supernet's kind of gates."""
    screens = issubclass(GATES[supernet.options.kind], Screening)
    return (ScreeningSearch if screens else StructureSearch)(supernet, plan, steps)
