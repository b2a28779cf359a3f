"""Gates: one flat tensor of structure variables that opens and closes atoms by gradient."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

TRAINED_GATES = ("sigmoid", "hard_concrete", "straight_through")

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
    * ``saliency``: not trained but measured, see :class:`.Saliency`.
    * ``screening``: measured before training, see :class:`.Screening`.

    An atom may belong to groups (its layer, its kind), each with a variable of its own that is added to those of all
    its atoms: the logit is :math:`(\alpha_a + \sum_g \alpha_g) / \tau - \zeta`. A group's variable sees the sum of its
    atoms' gradients, so a whole layer can close in the time of one atom. The shift :math:`\zeta` is 0 unless a
    budget is held; see :func:`.sparsity.shift_to_budget`.

    Args:
        atoms: how many.
        kind: one of ``TRAINED_GATES``.
        init: first value of every atom's variable; positive = open. Groups begin at 0.
        groups: (groupings, atoms) of group numbers from 0, all different between groupings; None for no groups.

    Attributes:
        price: loss that a parameter must be worth; read by :class:`.Saliency` alone, as trained gates meet the price in
            the loss.
        soft: whether gates take values between 0 and 1.
        passes: backward passes that make a step.
    """

    kinds: ClassVar[tuple[str, ...]] = TRAINED_GATES
    soft = True
    passes = 1
    shift: Tensor
    groups: Tensor | None

    def __init__(self, atoms: int, kind: str = "sigmoid", init: float = 1.0, groups: Tensor | None = None):
        super().__init__()
        if kind not in self.kinds:
            raise ValueError(f"unknown gate kind {kind!r}; one of {', '.join(self.kinds)}")
        self.kind = kind
        self.temperature = 1.0
        self.price = 0.0
        self.alpha = nn.Parameter(torch.full((atoms,), float(init)))
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("groups", groups)
        self.group_alpha = nn.Parameter(torch.zeros(int(groups.max()) + 1)) if groups is not None else None

    def get_extra_state(self) -> dict[str, float]:
        """What ``state_dict`` has beside tensors."""
        return {"temperature": self.temperature, "price": self.price}

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.temperature, self.price = state["temperature"], state["price"]

    @property
    def variables(self) -> list[nn.Parameter]:
        """The structure variables that are trained."""
        return [self.alpha] if self.group_alpha is None else [self.alpha, self.group_alpha]

    def logits(self) -> Tensor:
        """What the gates are made of, (atoms,); positive = open."""
        own = self.alpha / self.temperature - self.shift
        if self.group_alpha is None:
            return own
        return own + self.group_alpha[self.groups].sum(dim=0) / self.temperature

    @torch.no_grad()
    def shift_by(self, value: Tensor) -> None:
        """Set the shift of all logits, a scalar."""
        self.shift.copy_(value)

    @torch.no_grad()
    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Keep only ``atoms`` (indices); returns the old and the new ``alpha``, for an optimiser to follow."""
        old = self.alpha
        self.alpha = nn.Parameter(old.index_select(0, atoms), requires_grad=old.requires_grad)
        if self.groups is not None:
            self.groups = self.groups.index_select(1, atoms)
        return [(old, self.alpha)]

    def sample(self) -> Tensor:
        """Gates for one training step, (atoms,) in [0, 1], differentiable in ``alpha``."""
        logits = self.logits()
        if self.kind == "sigmoid":
            return logits.sigmoid()
        u = torch.rand_like(logits).clamp_(1e-6, 1 - 1e-6)
        soft = ((u.log() - (1 - u).log() + logits) / _BETA).sigmoid()
        if self.kind == "hard_concrete":
            return (soft * (_HIGH - _LOW) + _LOW).clamp(0, 1)
        return (soft > 0.5).to(soft.dtype) + soft - soft.detach()

    def expected(self) -> Tensor:
        """Probability that an atom is paid for, (atoms,): the ``E[z]`` of the sparsity term."""
        logits = self.logits()
        if self.kind == "hard_concrete":
            return (logits - _BETA * math.log(-_LOW / _HIGH)).sigmoid()
        return logits.sigmoid()

    @torch.no_grad()
    def values(self) -> Tensor:
        """Deterministic gates, (atoms,): what evaluation and discretisation see."""
        soft = self.logits().sigmoid()
        if self.kind == "hard_concrete":
            return (soft * (_HIGH - _LOW) + _LOW).clamp(0, 1)
        return (soft > 0.5).to(soft.dtype) if self.kind == "straight_through" else soft

    def worth(self) -> Tensor | None:
        """What the loss would lose without each atom, (atoms,); None where that is not known."""
        return None

    @torch.no_grad()
    def is_open(self) -> Tensor:
        """The discretisation rule, (atoms,) of bool: an atom stays when its gate is above one half."""
        return self.logits() > 0
