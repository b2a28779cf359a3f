"""Saliency in place of trained gates: atoms stay by what the loss would lose without them."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor, nn

from .gates import TRAINED_GATES, Gates

GATE_KINDS = (*TRAINED_GATES, "saliency")


class Saliency(Gates):
    r"""Gates that are 1 while an atom stands, and close by the smoothed size of their gradient.

    With :math:`z_a` multiplying atom ``a``, :math:`s_a = |z_a\, \partial L / \partial z_a|` at :math:`z_a = 1` is the
    first-order estimate of what the loss changes by when the atom goes: the connection sensitivity of SNIP (Lee et
    al. 2019, arXiv 1810.02340), smoothed over steps as in AdaLoRA (Zhang et al. 2023, arXiv 2303.10512, eq. 9). Here
    ``alpha`` (atoms,) is :math:`\log(\bar s_a / c_a)`, saliency for each parameter spent, and the logit is
    :math:`\alpha_a - \log p`: an atom is open while its saliency exceeds its cost at the price ``p`` (loss for a
    parameter). Under a budget those with most saliency for their cost are.

    It guards against two failures of trained gates: small gates that large weights make good for, as :math:`z = 1`
    for all that stands; and a gate learning rate that is right for one size only. What is trained is at any time the
    compact structure itself, and closing an atom touches no other.

    Args:
        costs: (atoms,) parameters of each atom.
        init: first value of the logits, until a gradient was seen; positive = open.
        smoothing: share of the old value at each step.
    """

    kinds = ("saliency",)
    soft = False
    slack = 1.5

    def __init__(self, costs: Tensor, init: float = 1.0, smoothing: float = 0.9):
        super().__init__(len(costs), "saliency", init)
        self.alpha.requires_grad_(False)
        self.register_buffer("log_costs", costs.log())
        self.log_costs: Tensor
        self.smoothing = smoothing
        self.seen = False

    @property
    def variables(self) -> list[nn.Parameter]:
        """None: saliency is measured, not trained."""
        return []

    def logits(self) -> Tensor:
        """What an atom is worth over what it costs, in logarithms, (atoms,); positive = open."""
        price = math.log(max(self.price, sys.float_info.min)) if self.seen else 0.0
        return self.alpha - price

    def sample(self) -> Tensor:
        """Ones, (atoms,), that measure saliency in the backward pass."""
        z = torch.ones_like(self.alpha, requires_grad=torch.is_grad_enabled())
        if z.requires_grad:
            z.register_hook(self._observe)
        return z

    @torch.no_grad()
    def _observe(self, gradient: Tensor) -> None:
        now = gradient.abs().clamp(min=torch.finfo(gradient.dtype).tiny).log() - self.log_costs
        old = self.alpha + math.log(self.smoothing)
        self.alpha.copy_(torch.logaddexp(old, now + math.log(1 - self.smoothing)) if self.seen else now)
        self.seen = True

    def expected(self) -> Tensor:
        """1 for open atoms and 0 for closed ones, (atoms,); there is nothing between."""
        return self.is_open().to(self.alpha.dtype)

    @torch.no_grad()
    def values(self) -> Tensor:
        """Ones, (atoms,): what stands, stands whole."""
        return torch.ones_like(self.alpha)

    @torch.no_grad()
    def keep(self, atoms: Tensor) -> tuple[nn.Parameter, nn.Parameter]:
        self.log_costs = self.log_costs.index_select(0, atoms)
        return super().keep(atoms)

    def worth(self) -> Tensor:
        return (self.alpha + self.log_costs).exp()
