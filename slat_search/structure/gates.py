"""Gates: one flat tensor of structure variables that opens and closes atoms by gradient."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

GATE_KINDS = ("sigmoid", "hard_concrete", "straight_through")

# Stretch of the hard-concrete distribution and its temperature, as in Louizos et al. 2018, section 4.1.
_LOW, _HIGH, _BETA = -0.1, 1.1, 2 / 3


class Gates(nn.Module):
    r"""Structure variables ``alpha`` (atoms,) and the gates ``z`` that they give.

    * ``sigmoid``: :math:`z = \sigma(\alpha / \tau)`, deterministic; arXiv 2509.03057. Annealing
      :math:`\tau \to 0` drives the soft supernet towards its discretised structure.
    * ``hard_concrete``: stretched and clipped concrete, exact zeros while training; Louizos et al. 2018
      (arXiv 1712.01312). Here :math:`\tau` divides ``alpha`` as well, so one schedule serves all kinds.
    * ``straight_through``: binary in the forward pass, the concrete relaxation's gradient in the backward
      pass; S3Delta, Hu et al. 2022 (arXiv 2206.07382). No gap between soft and discretised forward.

    Args:
        atoms: how many.
        kind: one of ``GATE_KINDS``.
        init: first value of every structure variable; positive = open.
    """

    def __init__(self, atoms: int, kind: str = "sigmoid", init: float = 1.0):
        super().__init__()
        if kind not in GATE_KINDS:
            raise ValueError(f"unknown gate kind {kind!r}; one of {', '.join(GATE_KINDS)}")
        self.kind = kind
        self.temperature = 1.0
        self.alpha = nn.Parameter(torch.full((atoms,), float(init)))

    def _logits(self) -> Tensor:
        return self.alpha / self.temperature

    def sample(self) -> Tensor:
        """Gates for one training step, (atoms,) in [0, 1], differentiable in ``alpha``."""
        logits = self._logits()
        if self.kind == "sigmoid":
            return logits.sigmoid()
        u = torch.rand_like(logits).clamp_(1e-6, 1 - 1e-6)
        soft = ((u.log() - (1 - u).log() + logits) / _BETA).sigmoid()
        if self.kind == "hard_concrete":
            return (soft * (_HIGH - _LOW) + _LOW).clamp(0, 1)
        return (soft > 0.5).to(soft.dtype) + soft - soft.detach()

    def expected(self) -> Tensor:
        """Probability that an atom is paid for, (atoms,): the ``E[z]`` of the sparsity term."""
        logits = self._logits()
        if self.kind == "hard_concrete":
            return (logits - _BETA * math.log(-_LOW / _HIGH)).sigmoid()
        return logits.sigmoid()

    @torch.no_grad()
    def values(self) -> Tensor:
        """Deterministic gates, (atoms,): what evaluation and discretisation see."""
        soft = self._logits().sigmoid()
        if self.kind == "hard_concrete":
            return (soft * (_HIGH - _LOW) + _LOW).clamp(0, 1)
        return (soft > 0.5).to(soft.dtype) if self.kind == "straight_through" else soft

    @torch.no_grad()
    def is_open(self) -> Tensor:
        """The discretisation rule, (atoms,) of bool: an atom stays when its gate is above one half."""
        return self.alpha > 0
