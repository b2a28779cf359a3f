"""One structure search: gates and weights learn together over the frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..structure import Supernet


@dataclass(frozen=True)
class SearchPlan:
    """Sparsity and phases; times are shares of the steps.

    Attributes:
        sparsity: weight ``lambda`` of the cost term; not used when a budget is given. Where gates are measured it
            counts in what an average parameter of the space is worth.
        budget: adapter parameters to end at, atoms larger than it are no candidates; None for the weight.
        depth: weight, 0 to 1, of compute against parameters in the cost.
        entropy: weight of the gates' entropy, against half-open gates.
        held_out: share of the training text for gates alone (bilevel); 0 for the same batches (single-level).
        diversity: weight of the reward for spreading cost over kinds, against collapse onto one.
        gate_learning_rate: Adam step of the structure variables; saliency has none.
        temperature: of the gates, at the start and at the end of the search phase (geometric between).
        warmup: gates rest before this.
        settle: gates are fixed from here on.
        shrink_every: closed atoms are removed this often during the search phase.
        screen: share of the steps, after the warm-up, whose gradients judge the candidates; of screening.
        growth: power with which the learning rate of the modules grows as the supernet shrinks. The changes of the
            atoms that stand add up in the output, so a rate that is right for the whole supernet is too small for a
            hundredth of it; ``learning_rate`` is that of the whole.
        whole: parameters that ``learning_rate`` is for; None for those of the supernet.
    """

    sparsity: float
    gate_learning_rate: float = 0.1
    temperature: tuple[float, float] = (1.0, 0.3)
    warmup: float = 0.2
    settle: float = 0.7
    shrink_every: float = 0.1
    budget: float | None = None
    depth: float = 0.0
    entropy: float = 0.0
    diversity: float = 0.0
    held_out: float = 0.0
    growth: float = 0.0
    screen: float = 0.04
    whole: int | None = None


class ScreeningSearch:
    r"""Controller of the loop for gates of kind ``screening``: look first, then train what was chosen.

    Phases: *warm-up* trains the head alone, for which nothing goes backward through the model; *screening* goes on with
    it while the gradients of all candidates, at zero, are recorded; then the candidates that fill the budget, or are
    worth :math:`\lambda` times what an average parameter of the space is, stay and train to the end as a compact
    adapter. The optimizer sees the screening's gradients at a learning rate of 0, so its moments are there at the first
    real step.
    """

    _LEAST = 4  # batches of each task

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        self.supernet = supernet
        self.plan = plan
        self.start = round(plan.warmup * steps)
        self.end = self.start + max(self._LEAST, round(plan.screen * steps))
        self.latest = max(self.end, (self.start + steps) // 2)  # so that of few steps some are left to train in
        self.held_out = 0.0
        self.pace = 1.0
        if plan.budget is not None:
            supernet.fit(plan.budget)
        self._enter(0)

    def _enter(self, step: int) -> None:
        """Let candidates sleep in the warm-up, and stand without moving in the screening."""
        if self.supernet.gates is None:
            return
        if step < self.start:
            self.supernet.sleep()
        else:
            self.supernet.wake()
            self.pace = 0.0

    def state_dict(self) -> dict[str, float]:
        """What the next step depends on beside the supernet, which keeps its own."""
        return {"pace": self.pace}

    def load_state_dict(self, state: Mapping[str, float], step: int) -> None:
        """Resume after ``step`` with a supernet that stands as it did then."""
        self._enter(step)
        self.pace = state["pace"]

    def parameter_groups(self) -> list[dict]:
        return []

    def variables(self) -> list[nn.Parameter]:
        return []

    def before_step(self, passes: int) -> None:
        return

    def loss(self) -> Tensor | None:
        return None

    def after_step(self, step: int, optimiser: Optimizer) -> None:
        self.supernet.after_update()
        if self.supernet.gates is None:
            return
        if step > self.start:
            self.supernet.record_gradients()
        if step == self.start:
            self._enter(step)
        elif step >= self.end and self.supernet.batches_recorded >= (self._LEAST if step < self.latest else 1):
            self.supernet.decide(self.plan.sparsity, self.plan.budget)
            self.supernet.settle(optimiser)
            self.pace = growth_of_rate(self.supernet, self.plan)


class StructureSearch:
    r"""Controller of the loop: adds :math:`\lambda \sum_a c_a E[z_a] / \sum_a c_a`, anneals, shrinks, settles.

    Phases: *warm-up* trains weights with all gates where they started, so that every atom has done
    something before it is judged; *search* moves the gates while :math:`\lambda` ramps up (or the budget
    falls from the whole supernet to its target, geometrically) and the temperature falls; *settle* trains what
    is left as a compact adapter. LoRA's ranks are turned to their principal directions before any of them closes, where
    gates are 1 or nothing. :math:`\lambda` and budget reach their ends half-way through the search, so
    that gates have time to answer.
    """

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        self.supernet = supernet
        self.plan = plan
        self.start = round(plan.warmup * steps)
        self.end = max(self.start + 1, round(plan.settle * steps))
        self.every = max(1, round(plan.shrink_every * steps))
        self.held_out = plan.held_out
        self.ramp = 0.0
        self.pace = 1.0
        if plan.budget is not None:
            supernet.fit(plan.budget)
        if supernet.gates is not None:
            for variable in supernet.gates.variables:
                variable.requires_grad_(self.start == 0)

    def state_dict(self) -> dict[str, float]:
        """What the next step depends on beside the supernet, which keeps its own."""
        return {"ramp": self.ramp, "pace": self.pace}

    def load_state_dict(self, state: Mapping[str, float], step: int) -> None:
        """Resume after ``step`` with a supernet that stands as it did then."""
        self.ramp, self.pace = state["ramp"], state["pace"]
        if self.supernet.gates is not None:
            for variable in self.supernet.gates.variables:
                variable.requires_grad_(step >= self.start)

    def parameter_groups(self) -> list[dict]:
        variables = self.supernet.gates.variables if self.supernet.gates is not None else []
        if not variables:
            return []
        return [{"params": variables, "lr": self.plan.gate_learning_rate, "weight_decay": 0.0, "constant": True}]

    def variables(self) -> list[nn.Parameter]:
        gates = self.supernet.gates
        return [] if gates is None else [v for v in gates.variables if v.requires_grad]

    def before_step(self, passes: int) -> None:
        if self.supernet.gates is not None:
            self.supernet.gates.passes = passes

    def loss(self) -> Tensor | None:
        if self.supernet.gates is None or not self.supernet.gates.variables or self.ramp == 0:
            return None
        plan, terms = self.plan, []
        if plan.budget is None and plan.sparsity:
            terms.append(plan.sparsity * self.supernet.cost(plan.depth))
        if plan.entropy:
            terms.append(plan.entropy * self.supernet.entropy())
        if plan.diversity:
            terms.append(plan.diversity * (1 - self.supernet.diversity()))
        return self.ramp * torch.stack(terms).sum() if terms else None

    def after_step(self, step: int, optimiser: Optimizer) -> None:
        self.supernet.after_update()
        gates = self.supernet.gates
        if gates is not None and not gates.soft and step < self.end and step % self.every == 0:
            self.supernet.turn(optimiser)
        if gates is None or step < self.start:
            return
        if step >= self.end:
            self.supernet.settle(optimiser)
            self._keep_pace()
            return
        if step == self.start:
            for variable in gates.variables:
                variable.requires_grad_(True)
        passed = (step - self.start) / (self.end - self.start)
        self.ramp = min(1.0, 2 * passed)
        first, last = self.plan.temperature
        gates.temperature = first * (last / first) ** passed
        gates.price = self.ramp * self.plan.sparsity * self.supernet.average_worth()
        if self.plan.budget is not None:
            whole = self.supernet.total_cost
            self.supernet.hold(whole * (min(1.0, self.plan.budget / whole)) ** self.ramp)
        if step > self.start and (step - self.start) % self.every == 0:
            self.supernet.shrink(optimiser)
            self._keep_pace()

    def _keep_pace(self) -> None:
        self.pace = growth_of_rate(self.supernet, self.plan)


def controller_for(kind: str, supernet: Supernet, plan: SearchPlan, steps: int) -> StructureSearch | ScreeningSearch:
    """The controller of a search with gates of one kind."""
    return (ScreeningSearch if kind == "screening" else StructureSearch)(supernet, plan, steps)


def growth_of_rate(supernet: Supernet, plan: SearchPlan) -> float:
    """Factor on the modules' learning rate: how many times fewer parameters stand than it is for, to a power."""
    whole = plan.whole or supernet.total_cost
    return (whole / supernet.params) ** plan.growth if supernet.params else 1.0
