"""Saliency in place of trained gates: atoms stay by what the loss would lose without them."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor, nn

from .gates import TRAINED_GATES, Gates

GATE_KINDS = (*TRAINED_GATES, "saliency", "screening")


class Saliency(Gates):
    r"""Gates that are 1 while an atom stands, and close by the smoothed size of their gradient.

    With :math:`z_a` multiplying atom ``a``, :math:`s_a = |z_a\, \partial L / \partial z_a|` at :math:`z_a = 1` is the
    first-order estimate of what the loss changes by when the atom goes: the connection sensitivity of SNIP (Lee et
    al. 2019, arXiv 1810.02340), smoothed over steps as in AdaLoRA (Zhang et al. 2023, arXiv 2303.10512, eq. 9). Here
    ``alpha`` (atoms,) is :math:`\log(\bar s_a / c_a)`, saliency for each parameter spent, and the logit is

    .. math:: \alpha_a + k_a \log\gamma + \rho \log b_a - \log p

    * :math:`k_a` counts the atoms of the same kind in the same block with more saliency. Such atoms do much the same
      (the shifts of a block's values, attention output and norm are nearly one), and each alone looks as good as the
      first, so each further one counts a factor ``crowding`` :math:`\gamma` less: diminishing returns.
    * :math:`b_a` counts the blocks from the atom's own to the last, :math:`\rho` is ``reach``. A first-order estimate
      misses how the blocks above respond; and a shift after the last block does only what the head's bias does.
    * ``price`` :math:`p` is the loss that a parameter must be worth; under a budget the atoms of largest logit stay.
      Whatever the price, the best atom stays.

    It guards against three failures of trained gates: optimisers that divide each gate's gradient by its own size, so
    that all gates move alike whatever they are worth; small gates that large weights make good for; and a soft supernet
    that is better than its discretised structure. What is trained is at any time a compact structure.

    Args:
        costs: (atoms,) parameters of each atom.
        crowd: (atoms,) number from 0 of the atom's kind and block.
        blocks: (atoms,) number of blocks from the atom's own to the last, at least 1.
        init: first value of the logits, until a gradient was seen; positive = open.
        crowding: factor on the worth of each further atom of one kind in one block; 1 for none.
        reach: power of ``blocks``; 0 for none.
        smoothing: share of the old value at each step.

    The gradients of the backward passes that make a step add up before their size is taken.
    """

    kinds = ("saliency",)
    soft = False

    log_costs: Tensor
    crowd: Tensor
    log_reach: Tensor

    def __init__(
        self,
        costs: Tensor,
        crowd: Tensor,
        blocks: Tensor,
        init: float = 1.0,
        crowding: float = 0.6,
        reach: float = 0.5,
        smoothing: float = 0.95,
    ):
        super().__init__(len(costs), self.kinds[0], init)
        self.alpha.requires_grad_(False)
        self.register_buffer("log_costs", costs.log())
        self.register_buffer("crowd", crowd)
        self.register_buffer("log_reach", reach * blocks.to(costs.dtype).log())
        self.crowding = crowding
        self.smoothing = smoothing
        self.seen = False
        self._passed: list[Tensor] = []

    def get_extra_state(self) -> dict[str, float]:
        return {**super().get_extra_state(), "seen": self.seen}

    def set_extra_state(self, state: dict[str, float]) -> None:
        super().set_extra_state(state)
        self.seen = bool(state["seen"])

    @property
    def variables(self) -> list[nn.Parameter]:
        """None: saliency is measured, not trained."""
        return []

    def logits(self) -> Tensor:
        """What an atom is worth over what it costs, in logarithms, (atoms,); positive = open."""
        return self.density() - (math.log(max(self.price, sys.float_info.min)) if self.seen else 0.0)

    def worth(self) -> Tensor:
        """What the loss is taken to lose without each atom, (atoms,)."""
        return (self.density() + self.log_costs).exp()

    def density(self) -> Tensor:
        """Logarithm of what each atom is worth for each of its parameters, (atoms,); the first values until seen."""
        if not self.seen:
            return self.alpha.detach()
        density = self.alpha + self.log_reach
        return density + math.log(self.crowding) * _places(density, self.crowd)

    def sample(self) -> Tensor:
        """Ones, (atoms,), that measure saliency in the backward pass."""
        z = torch.ones_like(self.alpha, requires_grad=torch.is_grad_enabled())
        if z.requires_grad:
            z.register_hook(self._observe)
        return z

    @torch.no_grad()
    def _observe(self, gradient: Tensor) -> None:
        self._passed.append(gradient)
        if len(self._passed) < self.passes:
            return
        gradient = sum(self._passed[1:], self._passed[0])
        self._passed.clear()
        now = gradient.abs().clamp(min=torch.finfo(gradient.dtype).tiny).log() - self.log_costs
        old = self.alpha + math.log(self.smoothing)
        self.alpha.copy_(torch.logaddexp(old, now + math.log(1 - self.smoothing)) if self.seen else now)
        self.seen = True

    @torch.no_grad()
    def is_open(self) -> Tensor:
        """Atoms that are worth their price, (atoms,) of bool, and the best one in any case."""
        logits = self.logits()
        is_open = logits > 0
        if self.seen and len(logits):
            is_open[logits.argmax()] = True
        return is_open

    def expected(self) -> Tensor:
        """1 for open atoms and 0 for closed ones, (atoms,); there is nothing between."""
        return self.is_open().to(self.alpha.dtype)

    @torch.no_grad()
    def values(self) -> Tensor:
        """Ones, (atoms,): what stands, stands whole."""
        return torch.ones_like(self.alpha)

    @torch.no_grad()
    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        for name in ("log_costs", "crowd", "log_reach"):
            setattr(self, name, getattr(self, name).index_select(0, atoms))
        return super().keep(atoms)


def _places(values: Tensor, group: Tensor) -> Tensor:
    """Place of each value among those of its group, (n,) of integers from 0 for the largest."""
    order = values.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = torch.bincount(group)
    first = counts.cumsum(0) - counts
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device) - first[group[order]]
    return places
