"""Weights of the losses of several tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Uncertainty(nn.Module):
    r"""Losses weighted by each task's uncertainty, :math:`e^{-s_t} L_t + s_t / 2` with a trained :math:`s_t`.

    :math:`s_t` is the logarithm of the task's noise variance: a task whose loss stays high counts less. Source: Kendall
    et al. 2018 (arXiv 1705.07115), equation 10 (for a regression with the factor 1/2 left to :math:`s_t`).

    Args:
        tasks: how many.
    """

    def __init__(self, tasks: int):
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(tasks))

    def forward(self, loss: Tensor, task: int, share: float) -> Tensor:
        """Return the weighted loss of a micro-batch, a scalar.

        Args:
            loss: its part in the mean loss of a batch.
            task: number of the task.
            share: of the batch that it is, so that those of all its micro-batches add up to 1.
        """
        s = self.log_variance[task]
        return (-s).exp() * loss + share * s / 2
