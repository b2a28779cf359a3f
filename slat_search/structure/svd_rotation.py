"""Rotate each LoRA to its singular directions, so that each rank has its own effect."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .adapter import Adapter
from .modules import Projection
from .optimizer import rotate_parameter

_LENGTH = 1 / math.sqrt(3)  # of a row of the down-projection as it is initialized


@torch.no_grad()
def rotate_to_svd(adapter: Adapter, optimizer: Optimizer | None = None, left_out: Collection[nn.Module] = ()) -> None:
    r"""Replace the ranks of each LoRA by the singular directions of their sum, which computes the same function.

    Ranks that learn together at one site do the same work: each does a part of what one of them could do, and by its
    own saliency none is worth its parameters. With :math:`U A = \sum_k \sigma_k u_k v_k^\top` the first rank becomes
    :math:`u_1 \sigma_1 / c` and :math:`c\, v_1`, the second :math:`u_2 \sigma_2 / c` and :math:`c\, v_2`, and so on;
    then removing ranks drops the directions of least effect. The length :math:`c` of the down-projection's rows is that
    of their initialization, so that steps of the optimizer are as large as before; its moments are rotated too. Call
    this while no gate is between 0 and 1.

    AdaLoRA (Zhang et al. 2023, arXiv 2303.10512) holds its ranks near this form by a penalty.

    Args:
        left_out: projections that are not rotated.
    """
    for site in adapter.site_adapters():
        for part in site.parts.values():
            if part in left_out or not isinstance(part, Projection):
                continue
            if 2 <= part.rank <= min(part.down.shape[1], part.up.shape[0]):
                _rotate(part, optimizer)


def _rotate(part: Projection, optimizer: Optimizer | None) -> None:
    ranks, device = slice(0, part.rank), part.up.device
    down, up = part.down[ranks].cpu(), part.up[:, ranks].cpu()  # a GPU takes longer to factorize such small matrices
    q, triangle = torch.linalg.qr(down.T)  # A^T = Q R
    outer = up @ triangle.T  # U A = outer Q^T
    if not outer.any() or not outer.isfinite().all() or not _is_regular(triangle):
        return  # nothing learned yet, a training that diverged, or rows that depend on each other
    inner = torch.linalg.svd(outer, full_matrices=False).Vh
    rotation = torch.linalg.solve_triangular(triangle.T, _LENGTH * inner, upper=False, left=False)  # A' = rotation A
    inverse = triangle.T @ inner.T / _LENGTH  # U' = U inverse
    part.up[:, ranks] = outer @ inner.T / _LENGTH
    part.down[ranks] = _LENGTH * inner @ q.T
    if optimizer is not None:
        # gradients of U' are those of U times rotation^T
        rotate_parameter(optimizer, part.up, rotation.T.to(device), dim=1)
        rotate_parameter(optimizer, part.down, inverse.to(device), dim=0)


def _is_regular(triangle: Tensor) -> bool:
    diagonal = triangle.diagonal().abs()
    return bool(diagonal.min() > 1e-5 * diagonal.max())
