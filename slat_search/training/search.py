"""One structure search: gates and weights learn together over the frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer

from ..structure import Supernet


@dataclass(frozen=True)
class SearchPlan:
    """Sparsity and phases; times are shares of the steps.

    Attributes:
        sparsity: weight ``lambda`` of the cost term.
        gate_learning_rate: Adam step of the structure variables.
        temperature: of the gates, at the start and at the end of the search phase (geometric between).
        warmup: gates rest before this.
        settle: gates are fixed from here on.
        shrink_every: closed atoms are removed this often during the search phase.
    """

    sparsity: float
    gate_learning_rate: float
    temperature: tuple[float, float] = (1.0, 0.3)
    warmup: float = 0.2
    settle: float = 0.7
    shrink_every: float = 0.1


class StructureSearch:
    r"""Controller of the loop: adds :math:`\lambda \sum_a c_a E[z_a] / \sum_a c_a`, anneals, shrinks, settles.

    Phases: *warm-up* trains weights with all gates where they started, so that every atom has done
    something before it is judged; *search* moves the gates while :math:`\lambda` ramps up and the
    temperature falls; *settle* trains what is left as a compact adapter.
    """

    def __init__(self, supernet: Supernet, plan: SearchPlan, steps: int):
        self.supernet = supernet
        self.plan = plan
        self.start = round(plan.warmup * steps)
        self.end = max(self.start + 1, round(plan.settle * steps))
        self.every = max(1, round(plan.shrink_every * steps))
        self.weight = 0.0
        if supernet.gates is not None:
            supernet.gates.alpha.requires_grad_(self.start == 0)

    def parameter_groups(self) -> list[dict]:
        if self.supernet.gates is None:
            return []
        alpha = self.supernet.gates.alpha
        return [{"params": [alpha], "lr": self.plan.gate_learning_rate, "weight_decay": 0.0, "constant": True}]

    def loss(self) -> Tensor | None:
        if self.supernet.gates is None or self.weight == 0:
            return None
        return self.weight * self.supernet.cost()

    def after_step(self, step: int, optimiser: Optimizer) -> None:
        if self.supernet.gates is None or step < self.start:
            return
        if step >= self.end:
            self.supernet.settle(optimiser)
            return
        if step == self.start:
            self.supernet.gates.alpha.requires_grad_(True)
        passed = (step - self.start) / (self.end - self.start)
        self.weight = self.plan.sparsity * min(1.0, 2 * passed)
        first, last = self.plan.temperature
        self.supernet.gates.temperature = first * (last / first) ** passed
        if step > self.start and (step - self.start) % self.every == 0:
            self.supernet.shrink(optimiser)
