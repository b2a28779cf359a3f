"""Leading singular directions of frozen weights, the same on every machine."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import SlatError
from .few_bits import dequantized

_MIN_DIRECTIONS = 32  # that are computed and cached, as a search asks for them repeatedly
_EXACT_UP_TO = 2048  # smaller side of a weight; above it directions come from subspace iteration
_ITERATIONS = 12
_OVERSAMPLING = 16


@dataclass(frozen=True)
class Basis:
    """Leading singular directions of a weight (d_out, d_in), in float32 on the weight's device.

    Attributes:
        left: (d_out, count), orthonormal columns.
        right: (count, d_in), orthonormal rows.
    """

    left: Tensor
    right: Tensor


@dataclass(frozen=True)
class _CachedBasis:
    weight: weakref.ref[Tensor]
    version: int
    basis: Basis


_CACHE: weakref.WeakKeyDictionary[nn.Module, _CachedBasis] = weakref.WeakKeyDictionary()


def weight_of(layer: nn.Module) -> Tensor:
    """Return the weight of a linear layer as (d_out, d_in), whatever form the layer stores it in.

    For a layer in 4 or 8 bits it is the weight before quantization where the layer still has it (``unquantized``), else
    the dequantized one.
    """
    if (original := getattr(layer, "unquantized", None)) is not None:
        return original[0]
    if (weight := dequantized(layer)) is not None:
        return weight
    weight = layer.get_parameter("weight")
    return weight.T if type(layer).__name__ == "Conv1D" else weight  # GPT-2 keeps (d_in, d_out)


@torch.no_grad()
def singular_basis(layer: nn.Module, count: int) -> Basis:
    """Return the ``count`` leading singular directions of a layer's weight, computed once for each weight.

    They are computed in float64 from the weight alone, and each pair has the sign that makes the largest component of
    its left direction positive, so that another machine computes the same ones.

    Raises:
        SlatError: the weight has fewer directions.
    """
    weight = weight_of(layer)
    if count > min(weight.shape):
        raise SlatError(f"structure: a weight of {tuple(weight.shape)} has no {count} singular directions")
    parameter = layer.get_parameter("weight")
    cached = _CACHE.get(layer)
    is_current = cached is not None and cached.weight() is parameter and cached.version == parameter._version
    if (
        cached is None
        or not is_current
        or cached.basis.left.shape[1] < count
        or cached.basis.left.device != parameter.device
    ):
        directions = min(max(count, _MIN_DIRECTIONS), *weight.shape)
        cached = _CACHE[layer] = _CachedBasis(
            weakref.ref(parameter), parameter._version, _compute_basis(weight, directions, parameter.device)
        )
    return Basis(cached.basis.left[:, :count], cached.basis.right[:count])


def _compute_basis(weight: Tensor, count: int, device: torch.device) -> Basis:
    matrix = weight.detach().to("cpu", torch.float64) if min(weight.shape) <= _EXACT_UP_TO else weight.detach().float()
    left, right = _by_gram(matrix, count) if matrix.dtype == torch.float64 else _by_iteration(matrix, count)
    pivots = left.gather(0, left.abs().argmax(dim=0, keepdim=True))
    signs = torch.where(pivots < 0, -1.0, 1.0).to(left.dtype)
    return Basis((left * signs).float().to(device), (right * signs.T).float().to(device))


def _by_gram(weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Compute them from the eigenvectors of the smaller Gram matrix, which is several times faster than a full SVD."""
    is_wide = weight.shape[0] <= weight.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(weight @ weight.T if is_wide else weight.T @ weight)
    singular_values = eigenvalues.flip(0)[:count].clamp(min=0).sqrt()
    if not singular_values[-1] > 1e-6 * singular_values[0]:  # too weak for the Gram matrix to resolve
        left, _, right = torch.linalg.svd(weight, full_matrices=False)
        return left[:, :count], right[:count]
    short_side = vectors.flip(1)[:, :count]
    long_side = (weight.T @ short_side if is_wide else weight @ short_side) / singular_values
    return (short_side, long_side.T) if is_wide else (long_side, short_side.T)


def _by_iteration(weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Compute them by subspace iteration from a fixed start (Halko et al. 2011, arXiv 0909.4061, algorithm 4.4)."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(weight.shape[1], min(count + _OVERSAMPLING, *weight.shape), generator=generator)
    span = torch.linalg.qr(weight @ start.to(weight)).Q
    for _ in range(_ITERATIONS):
        span = torch.linalg.qr(weight @ torch.linalg.qr(weight.T @ span).Q).Q
    left, _, right = torch.linalg.svd(span.T @ weight, full_matrices=False)
    return (span @ left)[:, :count], right[:count]
