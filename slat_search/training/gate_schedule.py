"""The schedule of a structure search: gates and weights learn together over the frozen backbone."""

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
        whole: number of parameters that the modules' learning rate is meant for; None for that of the supernet.

    Raises:
        SlatError: a sparsity or budget that is not a finite number of at least 0.
    """

    sparsity: float = 0.0
    budget: float | None = None
    gate_learning_rate: float = 0.1
    whole: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("sparsity", self.sparsity), ("budget", 0.0 if self.budget is None else self.budget)):
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
                raise SlatError(f"SearchPlan: {name} must be a finite number of at least 0, not {value!r}")


_MAX_SURPLUS = 0.1  # fraction of all candidates that a structure and its surplus may take


class SupernetController(Controller):
    """Base of all searches: a supernet under a plan, whose learning rate grows as it shrinks.

    Args:
        supernet: the supernet that is searched.
        plan: its pressure.
        steps: optimizer steps of the training.
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
        """Return the state of the schedule, without that of the supernet."""
        return {"pace": self.lr_factor}

    def load_state_dict(self, state: Mapping[str, float], step: int) -> None:
        """Resume after ``step``, with a supernet in its state at that step."""
        self.lr_factor = state["pace"]

    def _update_lr_factor(self) -> None:
        """Set the factor on the modules' learning rate: by how much the supernet has shrunk, to a power."""
        full_size, size = self.plan.whole or self.supernet.pressure.total, self.supernet.params
        self.lr_factor = (full_size / size) ** self.supernet.options.lr_growth if size else 1.0


class ScreeningSearch(SupernetController):
    r"""Search with gates of kind ``screening``: judge first, then train the choice and a shrinking surplus.

    Phases: *warm-up* trains the head alone, without a backward pass through the model; *screening* continues with the
    head while it records the gradients of all candidates, at zero. The size of the structure is the budget, or that of
    all atoms worth at least :math:`\lambda` times as much per parameter as the average of the space; ``surplus`` times
    that size remains. *Pruning* trains it while its size falls geometrically to the structure's, atoms of least worth
    first (gradual pruning: Zhu and Gupta 2017, arXiv 1710.01878); *settled* trains the structure as a compact adapter.
    The optimizer receives the screening's gradients at a learning rate of 0, so its moments are set at the first real
    step.

    Attributes:
        size: final size of the structure in new parameters; 0 until the screening has ended.
        judged: step at which the screening ended; 0 before.
    """

    _MIN_BATCHES = 4  # of each task

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        super().__init__(supernet, plan, steps)
        self.end = self.start + max(self._MIN_BATCHES, round(supernet.options.screen * steps))
        self.latest = max(self.end, (self.start + steps) // 2)  # so that short trainings have steps left to train in
        self.pruned = round(supernet.options.pruned * steps)
        self.size, self.judged = 0.0, 0
        self._enter(0)

    def _enter(self, step: int) -> None:
        """Disable candidates during the warm-up; freeze them during the screening."""
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
        elif step >= self.end and gates.batches >= (self._MIN_BATCHES if step < self.latest else 1):
            self.supernet.decide(self.plan.sparsity, self.plan.budget)
            self.size, self.judged = self.plan.budget or self.supernet.size, step
            if self.surplus > 1 and step < self.pruned:
                self.supernet.set_budget(self.size * self.surplus)
                self.supernet.shrink(optimizer)
            else:
                self.supernet.discretize(optimizer)
            self._update_lr_factor()

    @property
    def surplus(self) -> float:
        """Return the size after the screening as a multiple of the structure's.

        It is that of the options, but at most a tenth of the candidates, as more would train about as slowly as a whole
        supernet.
        """
        limit = _MAX_SURPLUS * self.supernet.pressure.total
        return min(self.supernet.options.surplus, max(1.0, limit / max(1, self.size)))

    def _prune(self, step: int, gates: ScreeningTaskGates, optimizer: Optimizer) -> None:
        """Prune the least worthy atoms."""
        if step < self.pruned and (step - self.judged) % self.every:
            return
        progress = min(1.0, (step - self.judged) / (self.pruned - self.judged))
        gates.judge_trained(self.supernet.layout.weights())
        self.supernet.set_budget(self.size * self.surplus ** (1 - progress))
        if step < self.pruned:
            self.supernet.shrink(optimizer)
        else:
            self.supernet.discretize(optimizer)
        self._update_lr_factor()


class StructureSearch(SupernetController):
    r"""Search that trains all candidates, adds :math:`\lambda \sum_a c_a E[z_a] / \sum_a c_a` and shrinks.

    Phases: *warm-up* trains weights with all gates at their initial values, so that every atom has learned
    something before it is judged; *search* moves the gates while :math:`\lambda` ramps up (or the budget
    falls geometrically from the whole supernet to its target) and the temperature falls; *settle* trains the
    remaining atoms as a compact adapter. LoRA's ranks are rotated to their singular directions before any of them
    closes, if gates are 0 or 1. :math:`\lambda` and budget reach their final values half-way through the search, so
    that gates have time to respond.
    """

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        super().__init__(supernet, plan, steps)
        self.end = max(self.start + 1, round(supernet.options.settle * steps))
        self.ramp = 0.0
        self._move_gates(self.start == 0)

    def _move_gates(self, trainable: bool) -> None:
        """Let the optimizer train the structure variables, or not."""
        for variable in self.supernet.gates.variables if self.supernet.gates is not None else ():
            variable.requires_grad_(trainable)

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

    def before_step(self, accumulation: int | None) -> None:
        for row in self.supernet.gates.each if self.supernet.gates is not None else ():
            row.accumulation = accumulation

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
            self._update_lr_factor()
            return
        if step == self.start:
            self._move_gates(True)
        progress = (step - self.start) / (self.end - self.start)
        self.ramp = min(1.0, 2 * progress)
        initial, final = options.temperature
        gates.set_temperature(initial * (final / initial) ** progress)
        self.supernet.pressure.set_price(gates, self.supernet.costs, self.ramp * self.plan.sparsity)
        if self.plan.budget is not None:
            total = self.supernet.pressure.total
            self.supernet.set_budget(total * (min(1.0, self.plan.budget / total)) ** self.ramp)
        if step > self.start and (step - self.start) % self.every == 0:
            self.supernet.shrink(optimizer)
            self._update_lr_factor()


def controller_for(supernet: Supernet, plan: SearchPlan, steps: int) -> StructureSearch | ScreeningSearch:
    """Return the controller of a search with the supernet's kind of gates."""
    is_screening = issubclass(GATES[supernet.options.kind], Screening)
    return (ScreeningSearch if is_screening else StructureSearch)(supernet, plan, steps)
