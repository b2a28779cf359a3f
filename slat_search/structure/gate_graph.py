"""Gates of a forward pass whose blocks run backward one by one, as in reentrant activation checkpointing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _FanOut(torch.autograd.Function):
    """Expand gates of atoms to the units of each part. Saves no tensor, so backward can run repeatedly."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, unit_atom: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
        ctx.atoms, ctx.unit_atom, ctx.sizes = len(z), unit_atom, sizes
        ctx.set_materialize_grads(False)
        return tuple(z[unit_atom].split(list(sizes)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:
        reference = next(gradient for gradient in gradients if gradient is not None)
        unit_gradients = [
            reference.new_zeros(size) if gradient is None else gradient
            for size, gradient in zip(ctx.sizes, gradients, strict=True)
        ]
        return reference.new_zeros(ctx.atoms).index_add(0, ctx.unit_atom, torch.cat(unit_gradients)), None, None


def block_by_block(z: Tensor, unit_atom: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """Return the gates of the units of each part, (units of the part,) each, that can run backward block by block.

    Reentrant checkpointing runs backward through each block on its own, and the first block would free the graph that
    leads from all gates to the structure variables. Here each block's gradient is passed on at once, and the graph is
    retained.

    Args:
        z: (atoms,) gates.
        unit_atom: (units,) number of the atom of each unit.
        sizes: units of each part.
    """
    if not z.requires_grad:
        return z[unit_atom].split(list(sizes))
    leaf = z.detach().requires_grad_()
    leaf.register_hook(lambda gradient: torch.autograd.backward(z, gradient, retain_graph=True))
    return _FanOut.apply(leaf, unit_atom, sizes)
