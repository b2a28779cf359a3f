"""Weights of the losses of several tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Uncertainty(nn.Module):
    r"""Losses weighted by each task's uncertainty, :math:`e^{-s_t} L_t + s_t / 2` with a trained :math:`s_t`.

    :math:`s_t` is the logarithm of the task's noise variance: a task whose loss stays high counts less. Source: Kendall
    et al. 2018 (arXiv 1705.07115), equation 10 (for a regression with the factor 1/2 left to :math:`s_t`).

    Args:
        tasks: number of tasks.
    """

    def __init__(self, tasks: int):
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(tasks))

    def forward(self, loss: Tensor, task: int, batch_fraction: float) -> Tensor:
        """Return the weighted loss of a micro-batch, a scalar.

        Args:
            loss: contribution of the micro-batch to the mean loss of its batch.
            task: number of the task.
            batch_fraction: size of the micro-batch as a fraction of its batch; 1 in sum over a batch.
        """
        s = self.log_variance[task]
        return (-s).exp() * loss + batch_fraction * s / 2
