"""Leading singular directions of frozen weights, the same on every machine."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import SlatError
from .few_bits import dequantized

_LEAST = 32  # cached directions, as a search asks for them repeatedly
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
class _Known:
    weight: weakref.ref[Tensor]
    version: int
    basis: Basis


_KNOWN: weakref.WeakKeyDictionary[nn.Module, _Known] = weakref.WeakKeyDictionary()


def weight_of(layer: nn.Module) -> Tensor:
    """The weight of a linear layer as (d_out, d_in), whichever way the layer keeps it.

    Of a layer in 4 or 8 bits it is the weight before, where the layer still knows it (``unquantized``), else what its
    bits stand for.
    """
    if (before := getattr(layer, "unquantized", None)) is not None:
        return before[0]
    if (weight := dequantized(layer)) is not None:
        return weight
    weight = layer.get_parameter("weight")
    return weight.T if type(layer).__name__ == "Conv1D" else weight  # GPT-2 keeps (d_in, d_out)


@torch.no_grad()
def singular_basis(layer: nn.Module, count: int) -> Basis:
    """The ``count`` leading singular directions of a layer's weight, computed once for each weight.

    They are computed in float64 from the weight alone, and each pair is given the sign that makes the largest component
    of its left direction positive, so that another machine finds the same ones.

    Raises:
        SlatError: the weight has fewer directions.
    """
    weight = weight_of(layer)
    if count > min(weight.shape):
        raise SlatError(f"structure: a weight of {tuple(weight.shape)} has no {count} singular directions")
    own = layer.get_parameter("weight")
    known = _KNOWN.get(layer)
    fits = known is not None and known.weight() is own and known.version == own._version
    if known is None or not fits or known.basis.left.shape[1] < count or known.basis.left.device != own.device:
        wanted = min(max(count, _LEAST), *weight.shape)
        known = _KNOWN[layer] = _Known(weakref.ref(own), own._version, _computed(weight, wanted, own.device))
    return Basis(known.basis.left[:, :count], known.basis.right[:count])


def _computed(weight: Tensor, count: int, device: torch.device) -> Basis:
    exact = weight.detach().to("cpu", torch.float64) if min(weight.shape) <= _EXACT_UP_TO else weight.detach().float()
    left, right = _by_gram(exact, count) if exact.dtype == torch.float64 else _by_iteration(exact, count)
    largest = left.gather(0, left.abs().argmax(dim=0, keepdim=True))
    sign = torch.where(largest < 0, -1.0, 1.0).to(left.dtype)
    return Basis((left * sign).float().to(device), (right * sign.T).float().to(device))


def _by_gram(weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """From the eigenvectors of the smaller Gram matrix, which are found several times faster than all singular ones."""
    wide = weight.shape[0] <= weight.shape[1]
    values, vectors = torch.linalg.eigh(weight @ weight.T if wide else weight.T @ weight)
    lengths = values.flip(0)[:count].clamp(min=0).sqrt()
    if not lengths[-1] > 1e-6 * lengths[0]:  # too weak for the Gram matrix to resolve
        left, _, right = torch.linalg.svd(weight, full_matrices=False)
        return left[:, :count], right[:count]
    near = vectors.flip(1)[:, :count]
    far = (weight.T @ near if wide else weight @ near) / lengths
    return (near, far.T) if wide else (far, near.T)


def _by_iteration(weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """By subspace iteration from a fixed start (Halko et al. 2011, arXiv 0909.4061, algorithm 4.4)."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(weight.shape[1], min(count + _OVERSAMPLING, *weight.shape), generator=generator)
    space = torch.linalg.qr(weight @ start.to(weight)).Q
    for _ in range(_ITERATIONS):
        space = torch.linalg.qr(weight @ torch.linalg.qr(weight.T @ space).Q).Q
    left, _, right = torch.linalg.svd(space.T @ weight, full_matrices=False)
    return (space @ left)[:, :count], right[:count]
