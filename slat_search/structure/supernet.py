"""The supernet: every candidate at every site, behind one flat tensor of gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from . import sparsity
from .adapter import Adapter, attach
from .gates import Gates
from .layout import GROUPINGS, Layout, Part
from .optimiser import replace_parameter
from .saliency import GATE_KINDS, Saliency
from .screening import Screening
from .sites import Site
from .space import Space
from .structure import Structure
from .task_gates import TaskGates
from .turning import turn_to_principal_directions


class Supernet(nn.Module):
    """Gated candidates on a frozen backbone, for any PyTorch training loop.

    Gates are drawn at the start of each forward pass of ``backbone``: sampled while ``training``, those of
    the discretised structure in ``eval()`` (closed atoms 0, open atoms at their value). So whatever is
    evaluated is exactly what :meth:`settle` turns into a compact adapter.

    Example::

        supernet = Supernet(backbone, find_sites(backbone), space)
        for step, batch in enumerate(loader):
            loss = task_loss(backbone(**batch)) + weight * supernet.cost()
            ...
            supernet.shrink(optimiser)
        adapter = supernet.settle(optimiser)

    Args:
        backbone: a frozen model.
        sites: where candidates may stand.
        space: which candidates.
        gate_kind: see :class:`Gates` and :class:`.Saliency`.
        gate_init: first value of all structure variables.
        groups: ``layer``, ``kind``, ``site``: what shares a further structure variable, so that it can close at once.
        saliency: ``crowding``, ``reach`` and ``smoothing`` of :class:`.Saliency`.

    Attributes:
        layout: where atoms and units lie in flat tensors.
        budget: parameters that the discretised structure fills, set by :meth:`hold`; None without one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[Site],
        space: Space,
        gate_kind: str = "sigmoid",
        gate_init: float = 1.0,
        groups: Sequence[str] = (),
        saliency: Mapping[str, float] | None = None,
    ):
        super().__init__()
        if unknown := set(groups) - set(GROUPINGS):
            raise ValueError(f"unknown group {unknown.pop()!r}; one of {', '.join(GROUPINGS)}")
        if gate_kind not in GATE_KINDS:
            raise ValueError(f"unknown gate kind {gate_kind!r}; one of {', '.join(GATE_KINDS)}")
        if gate_kind in ("saliency", "screening") and groups:
            raise ValueError(f"{gate_kind} is measured atom by atom and knows no groups")
        self.space = space
        self.adapter: Adapter = attach(backbone, self._whole(sites))
        device = next(backbone.parameters()).device
        self.budget: float | None = None
        self._layers = 1 + max(site.layer for site in sites)
        self._lay_out(device)
        self.gates: Gates | TaskGates | None = self._gates(gate_kind, gate_init, groups, saliency or {}).to(device)
        self.total_cost = float(self.params)
        self._standing = torch.arange(len(self.costs), device=device)
        self._pre_hook = backbone.register_forward_pre_hook(lambda module, args: self.draw())

    def _whole(self, sites: Sequence[Site]) -> Structure:
        """The structure in which everything is open."""
        return self.space.supernet(sites)

    def _lay_out(self, device: torch.device) -> None:
        """Number the atoms that stand."""
        self.layout = Layout(self.adapter, self.space, device)

    @property
    def parts(self) -> list[Part]:
        """The modules that stand."""
        return self.layout.parts

    @property
    def params(self) -> int:
        """Parameters that stand, open or not."""
        return self.layout.params

    @property
    def costs(self) -> Tensor:
        """Parameters of each atom that stands, (atoms,)."""
        return self.layout.costs

    def _gates(self, kind: str, init: float, groups: Sequence[str], options: Mapping[str, float]) -> Gates | TaskGates:
        if kind == "screening":
            return Screening(self.costs, self.layout.atom_of_parameters())
        if kind == "saliency":
            blocks = self._layers - self.layout.of_atom["layer"]
            return Saliency(self.costs, self.layout.crowds(self._layers), blocks, init, **options)
        return Gates(len(self.costs), kind, init, self.layout.groups(groups))

    # -- while searching -------------------------------------------------------------------------------

    def switch(self, task: int) -> None:
        """The batches that follow are of the task of this number: here of the only one."""

    def draw(self) -> None:
        """Give every module its gate for the coming forward pass (one gather for the whole model)."""
        z = self._drawn() if self.parts and self.adapter.active else None
        if z is None:
            return
        for part, gate in zip(self.parts, self.layout.by_part(z), strict=True):
            part.site.gates[part.name] = gate

    def _drawn(self) -> Tensor | None:
        """The gates of the coming forward pass, (atoms,); None when there are none any more."""
        if self.gates is None:
            return None
        return self.gates.sample() if self.training else self.gates.values() * self._is_open()

    def cost(self, depth: float = 0.0) -> Tensor:
        """Expected cost as a share of the whole supernet's, a scalar that stays comparable when atoms are removed.

        Args:
            depth: weight, 0 to 1, of :func:`.sparsity.depth_cost` (compute) against that of parameters.
        """
        if self.gates is None or not len(self.costs):
            return self.costs.new_zeros(())
        expected = self.gates.expected()
        cost = (1 - depth) * sparsity.parameter_cost(expected, self.costs, self.total_cost)
        if depth:
            cost = cost + depth * sparsity.depth_cost(expected, self.layout.of_atom["layer"], self._layers)
        return cost

    def entropy(self) -> Tensor:
        """Mean binary entropy of the gates, see :func:`.sparsity.gate_entropy`."""
        if self.gates is None or not len(self.costs):
            return self.costs.new_zeros(())
        return sparsity.gate_entropy(self.gates.expected())

    def diversity(self) -> Tensor:
        """How evenly the expected cost is spread over kinds, see :func:`.sparsity.kind_diversity`."""
        if self.gates is None or not len(self.costs):
            return self.costs.new_ones(())
        return sparsity.kind_diversity(
            self.gates.expected(), self.costs, self.layout.of_atom["kind"], len(self.layout.kinds)
        )

    def hold(self, budget: float) -> None:
        """Shift all gates so that the expected parameters equal ``budget``, which the structure then fills.

        To be called before each step, with a budget that anneals from the whole supernet down to the target.
        """
        self.budget = budget
        if self.gates is not None and self.gates.soft and len(self.costs):
            sparsity.shift_to_budget(self.gates, self.costs, budget)

    def _is_open(self) -> Tensor:
        """The discretisation rule, (atoms,) of bool: gates above one half, or the most open ones within the budget."""
        assert self.gates is not None
        if self.budget is None:
            return self.gates.is_open()
        return sparsity.open_within(self.gates.logits().detach(), self.costs, self.budget, self.gates.worth())

    def structure(self) -> Structure:
        """The discretised structure: the atoms whose gate is above one half, or those that fill the budget."""
        if self.gates is None:
            return self.adapter.structure
        return Structure(tuple(self.layout.kept(self._is_open().tolist())), self.space.options)

    def after_update(self) -> None:
        """To be called after each step of an optimiser; here nothing is frozen that it may have moved."""

    # -- screening -------------------------------------------------------------------------------------

    def sleep(self) -> None:
        """Let the backbone compute as if there were no candidates, until :meth:`wake`."""
        self.adapter.active = False

    def wake(self) -> None:
        """Let candidates take part again."""
        self.adapter.active = True

    @torch.no_grad()
    def record_gradients(self) -> None:
        """Take the gradients of the batch just gone through into account, for gates of kind ``screening``."""
        parameters = [parameter for _, parameter, _ in self.layout.parameters()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self._screening().record(torch.cat([gradient.reshape(-1) for gradient in gradients]))

    def _screening(self) -> Screening:
        """What is recorded into: of several tasks that of the current one."""
        assert isinstance(self.gates, Screening)
        return self.gates

    def decide(self, sparsity_weight: float, budget: float | None) -> None:
        """Judge the candidates by what was recorded; those that are not worth it leave with :meth:`settle`.

        Args:
            sparsity_weight: how many times what an average parameter of the space is worth an atom has to be worth for
                each of its own; not used under a budget.
            budget: parameters to fill; None for the weight.
        """
        assert self.gates is not None
        for row in self._screened():
            row.decide()
        if budget is not None:
            self.hold(budget)
        else:
            self.gates.price = sparsity_weight * self.average_worth()

    def _screened(self) -> list[Screening]:
        return [self._screening()]

    @property
    def batches_recorded(self) -> int:
        """Batches that were recorded; of several tasks for the one that has fewest."""
        return min(row.batches for row in self._screened())

    def average_worth(self) -> float:
        """What the loss is taken to lose without a parameter of the whole space, on the mean; of gates that are
        measured. Atoms that have left count as worth nothing."""
        worth = self.gates.worth() if self.gates is not None else None
        if worth is None:
            return 0.0
        there = worth.isfinite()  # what earlier tasks use stays whatever it is worth
        space = self.total_cost - float(self.costs[~there].double().sum())
        return float(worth[there].double().sum()) / max(1.0, space)

    def turn(self, optimiser: Optimizer | None = None) -> None:
        """Write each LoRA in its principal directions, see :func:`.turn_to_principal_directions`."""
        turn_to_principal_directions(self.adapter, optimiser)

    # -- closing atoms ---------------------------------------------------------------------------------

    @torch.no_grad()
    def fit(self, budget: float) -> int:
        """Remove atoms that alone are larger than ``budget``, which would only push out what fits. Returns how many."""
        return self._remove(self.costs > budget, None)

    @torch.no_grad()
    def shrink(self, optimiser: Optimizer | None = None, below: float = 0.05) -> int:
        """Physically remove atoms whose gate is under ``below``; optimiser state follows. Returns how many.

        Under a budget the most open atoms worth twice the budget stay: while gates are still alike, all of them are
        small, and the structure has yet to be chosen. Saliency, which is 1 or nothing, removes what is not open.
        """
        if self.gates is None:
            return 0
        closed = ~self._is_open()
        if self.gates.soft:
            closed &= self.gates.values() < below
            if self.budget is not None:
                closed &= ~sparsity.open_within(self.gates.logits(), self.costs, 2 * self.budget)
        return self._remove(closed, optimiser)

    @torch.no_grad()
    def settle(self, optimiser: Optimizer | None = None) -> Adapter:
        """End the search: remove closed atoms, multiply the open gates into the weights, drop the gates.

        The output is that of ``eval()`` just before. All atoms closed is a valid end: the bare head.
        """
        if self.gates is not None:
            self._remove(~self._is_open(), optimiser)
            z = self.gates.values()
            for part, gate in zip(self.parts, self.layout.by_part(z), strict=True):
                part.module.fold(gate)
            if optimiser is not None:
                for variable in self.gates.variables:
                    replace_parameter(optimiser, variable, None)
            self._drop_gates()
        return self.adapter

    def _drop_gates(self) -> None:
        for site in self.adapter.site_adapters():
            site.gates.clear()
        self.gates = None

    def _remove(self, closed: Tensor, optimiser: Optimizer | None) -> int:
        removed = int(closed.sum())
        if removed == 0 or self.gates is None:
            return 0
        flags = self.layout.by_part(closed)
        for part, flag in zip(self.parts, flags, strict=True):
            if not flag.any():
                continue
            for old, new, dim, index in part.site.keep(part.name, (~flag).nonzero().squeeze(1).cpu()):
                if optimiser is not None:
                    replace_parameter(optimiser, old, new, dim, index)
        self.adapter.drop_empty_sites()
        keep = (~closed).nonzero().squeeze(1)
        for variable, left in self.gates.keep(keep):
            if optimiser is not None:
                replace_parameter(optimiser, variable, left, 0, keep)
        self._standing = self._standing[keep]
        self._lay_out(closed.device)
        return removed

    # -- saving ----------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """What stands, so that ``load_state_dict`` of a supernet that was made alike can shrink to it first."""
        return {"standing": self._standing, "budget": self.budget, "settled": self.gates is None}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Shrink to what stood; weights and gates are loaded after this."""
        closed = ~torch.isin(self._standing, state["standing"].to(self._standing.device))
        self._remove(closed, None)
        self.budget = state["budget"]
        if state["settled"]:
            self._drop_gates()

    def detach(self) -> None:
        """Take everything off the backbone again."""
        self._pre_hook.remove()
        self.adapter.detach()
