"""Screening instead of a trained supernet: candidates are judged at zero, before any of them trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from .measured import MeasuredGates, MeasuredTaskGates

if TYPE_CHECKING:
    from ..layout import Layout
    from ..options import SearchOptions


class Screening(MeasuredGates):
    r"""Gates that stay closed until the gradients of some batches have measured each candidate.

    All candidates start as the identity, so on a frozen model their gradients at zero can be measured before one of
    them moves. With :math:`g_p` the gradient of parameter ``p`` over the batches of the screening, an atom's worth is

    .. math:: w_a = \sum_{p \in a} |\bar g_p| \cdot \frac{|\bar g_p|}{\sqrt{\overline{g_p^2}}}

    the mean gradient (what Adam's first step gains for each unit of its size) times the fraction of it that is not
    noise of batches. One rule serves all kinds: for a spectral entry the sum has one term, for a LoRA rank those of its
    up-projection, as the down-projection has no gradient at zero, while both are paid for. The atoms of largest worth
    per parameter fill the budget, or those whose worth is above the price stay; the best one always stays.

    The atoms of largest worth at zero need not be those of largest worth once they have trained, so more may stay at
    first. While they train, :meth:`judge_trained` sets

    .. math:: w_a = \sum_{p \in a} |\theta_p| \cdot |\theta_p| \sqrt{\overline{g_p^2}}

    with the mean over all steps since the screening began: the first-order change of the loss without a parameter,
    times how far the parameter has moved, which under Adam says for how long its gradients have agreed.

    Judging weights by gradients before training: SNIP (Lee et al. 2019, arXiv 1810.02340); to rank candidates one by
    one before a joint fit: sure independence screening (Fan and Lv 2008).

    Args:
        costs: (atoms,) parameters of each atom.
        atom_of: (parameters,) number of the atom that each parameter of the candidates belongs to.

    Attributes:
        batches: number of recorded batches.
    """

    total: Tensor
    squares: Tensor
    atom_of: Tensor

    def __init__(self, costs: Tensor, atom_of: Tensor):
        super().__init__(costs, init=-1.0)
        self.batches = 0
        self.register_buffer("atom_of", atom_of, persistent=False)
        self.register_buffer("total", torch.zeros(len(atom_of), device=costs.device))
        self.register_buffer("squares", torch.zeros(len(atom_of), device=costs.device))

    @classmethod
    def build(cls, layout: Layout, options: SearchOptions) -> Self:
        return cls(layout.costs, layout.atom_of_parameters())

    @classmethod
    def over_tasks(cls, rows: Sequence[Self], options: SearchOptions, fixed: Tensor | None) -> ScreeningTaskGates:
        return ScreeningTaskGates(rows, options, fixed)

    def _extra(self) -> dict[str, float]:
        return {**super()._extra(), "batches": self.batches}

    def _set_extra(self, values: Mapping[str, float]) -> None:
        super()._set_extra(values)
        self.batches = int(values["batches"])

    @torch.no_grad()
    def record(self, gradient: Tensor) -> None:
        """Accumulate the gradients (parameters,) of one batch."""
        self.total += gradient
        self.squares += gradient.square()
        self.batches += 1

    @torch.no_grad()
    def judge_trained(self, weights: Tensor) -> None:
        """Judge atoms that have trained by their weights (parameters,) and the recorded gradients."""
        self._set_worth(weights.square() * (self.squares / self.batches).sqrt())

    def _set_worth(self, parameter_worth: Tensor) -> None:
        worth = torch.zeros_like(self.alpha).index_add(0, self.atom_of, parameter_worth)
        self.alpha.copy_(worth.clamp(min=torch.finfo(worth.dtype).tiny).log() - self.log_costs)

    @torch.no_grad()
    def decide(self) -> None:
        """Set each atom's worth.

        Raises:
            ValueError: nothing was recorded.
        """
        if not self.batches:
            raise ValueError("no batch was recorded")
        mean = self.total / self.batches
        rms = (self.squares / self.batches).sqrt().clamp(min=torch.finfo(mean.dtype).tiny)
        self._set_worth(mean.square() / rms)
        self.seen = True

    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        new_numbers = torch.full((len(self.alpha),), -1, device=atoms.device)
        new_numbers[atoms] = torch.arange(len(atoms), device=atoms.device)
        is_kept = new_numbers[self.atom_of] >= 0
        self.atom_of = new_numbers[self.atom_of[is_kept]]
        self.total, self.squares = self.total[is_kept], self.squares[is_kept]
        return super().keep(atoms)


class ScreeningTaskGates(MeasuredTaskGates):
    """Rows of screened gates, each judged by the batches of its task."""

    def _rows(self) -> list[Screening]:
        return [row for row in self.searching if isinstance(row, Screening)]

    @property
    def batches(self) -> int:
        """Return the number of recorded batches; of several tasks the smallest."""
        return min(row.batches for row in self._rows())

    def record(self, gradient: Tensor) -> None:
        """Accumulate the gradients (parameters,) of one batch of the current task."""
        self._rows()[self.task - len(self.given)].record(gradient)

    def decide(self) -> None:
        """Set the worth of every task's atoms."""
        for row in self._rows():
            row.decide()

    def judge_trained(self, weights: Tensor) -> None:
        """Judge atoms that have trained for every task, see :meth:`.Screening.judge_trained`."""
        for row in self._rows():
            row.judge_trained(weights)
