"""Saliency gates, which are not trained: atoms are kept by how much the loss would rise without them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from ..options import SearchOptions
from .measured import MeasuredGates

if TYPE_CHECKING:
    from ..layout import Layout


class Saliency(MeasuredGates):
    r"""Gates that are 1 while an atom is open, and close by the smoothed size of their gradient.

    With :math:`z_a` multiplying atom ``a``, :math:`s_a = |z_a\, \partial L / \partial z_a|` at :math:`z_a = 1` is the
    first-order estimate of how much the loss changes without the atom: the connection sensitivity of SNIP (Lee et
    al. 2019, arXiv 1810.02340), smoothed over steps as in AdaLoRA (Zhang et al. 2023, arXiv 2303.10512, eq. 9). Here
    ``alpha`` (atoms,) is :math:`\log(\bar s_a / c_a)`, saliency for each parameter spent, and the density is

    .. math:: \alpha_a + k_a \log\gamma + \rho \log b_a

    * :math:`k_a` counts the atoms of the same kind in the same block with more saliency. Such atoms do much the same
      (the shifts of a block's values, attention output and norm are nearly equivalent), and each alone looks as good as
      the first, so each further one counts a factor ``redundancy_discount`` :math:`\gamma` less: diminishing returns.
    * :math:`b_a` counts the blocks from the atom's own to the last, :math:`\rho` is ``depth_exponent``. A first-order
      estimate misses how the blocks above respond; and a shift after the last block only does what the head's bias
      does.

    This avoids three failures of trained gates: optimizers that divide each gate's gradient by its own size, so that
    all gates move alike whatever their worth; small gates that large weights compensate; and a soft supernet that is
    better than its discretized structure.

    Args:
        costs: (atoms,) parameters of each atom.
        crowd: (atoms,) number from 0 of the atom's kind and block.
        blocks: (atoms,) number of blocks from the atom's own to the last, at least 1.
        options: ``init``, ``redundancy_discount``, ``depth_exponent`` and ``smoothing``.

    The gradients of the micro-batches of a step are summed before their size is taken.
    """

    crowd: Tensor
    log_depth: Tensor

    def __init__(self, costs: Tensor, crowd: Tensor, blocks: Tensor, options: SearchOptions):
        super().__init__(costs, options.init)
        self.register_buffer("crowd", crowd)
        self.register_buffer("log_depth", options.depth_exponent * blocks.to(costs.dtype).log())
        self.redundancy_discount = options.redundancy_discount
        self.smoothing = options.smoothing
        self._gradients: list[Tensor] = []

    @classmethod
    def build(cls, layout: Layout, options: SearchOptions) -> Self:
        return cls(layout.costs, layout.crowds(), layout.layers - layout.layer, options)

    def density(self) -> Tensor:
        if not self.seen:
            return self.alpha
        density = self.alpha + self.log_depth
        return density + math.log(self.redundancy_discount) * _ranks_in_group(density, self.crowd)

    def sample(self) -> Tensor:
        """Return ones, (atoms,), whose gradient in the backward pass is measured."""
        z = torch.ones_like(self.alpha, requires_grad=torch.is_grad_enabled())
        if z.requires_grad:
            z.register_hook(self._observe)
        return z

    @torch.no_grad()
    def _observe(self, gradient: Tensor) -> None:
        self._gradients.append(gradient)
        if self.accumulation is not None and len(self._gradients) >= self.accumulation:
            self.take_measurements(None)

    def take_measurements(self, average: Callable[[Tensor], Tensor] | None) -> None:
        if not self._gradients:
            return
        gradient = sum(self._gradients[1:], self._gradients[0])
        self._gradients.clear()
        if average is not None:
            gradient = average(gradient)
        measurement = gradient.abs().clamp(min=torch.finfo(gradient.dtype).tiny).log() - self.log_costs
        history = self.alpha + math.log(self.smoothing)
        self.alpha.copy_(
            torch.logaddexp(history, measurement + math.log(1 - self.smoothing)) if self.seen else measurement
        )
        self.seen = True

    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        self.crowd = self.crowd.index_select(0, atoms)
        self.log_depth = self.log_depth.index_select(0, atoms)
        return super().keep(atoms)


def _ranks_in_group(values: Tensor, group: Tensor) -> Tensor:
    """Return the rank of each value within its group, (n,), 0 for the largest."""
    order = values.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = torch.bincount(group)
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device) - starts[group[order]]
    return ranks
