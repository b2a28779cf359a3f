"""Update an optimizer for parameters that shrank or changed basis."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def replace_parameter(
    optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter | None, dim: int = 0, index: Tensor | None = None
) -> None:
    """Replace ``old`` by ``new`` in an optimizer, with its state; ``new=None`` removes ``old``.

    State tensors of the parameter's shape (Adam's moments) are indexed with ``index`` along ``dim``;
    others (the step counter) stay as they are. A parameter that the optimizer does not hold is ignored.
    """
    for group in optimizer.param_groups:
        position = next((i for i, p in enumerate(group["params"]) if p is old), None)
        if position is None:
            continue
        state = optimizer.state.pop(old, {})
        if new is None:
            del group["params"][position]
            return
        group["params"][position] = new
        if state and index is not None:
            optimizer.state[new] = {
                name: value.index_select(dim, index.to(value.device))
                if isinstance(value, Tensor) and value.shape == old.shape
                else value
                for name, value in state.items()
            }
        return


@torch.no_grad()
def rotate_parameter(optimizer: Optimizer, parameter: nn.Parameter, matrix: Tensor, dim: int) -> None:
    """Update Adam's moments after a change of basis of the leading units of a parameter along ``dim``.

    Gradients ``g`` become ``g matrix`` (``matrix.T g`` for ``dim=0``), and the first moment changes as they do. Of the
    second moments only the diagonal is known, and it changes as if the rest were zero.

    Args:
        matrix: (units, units), for that many leading units.
    """
    state = optimizer.state.get(parameter, {})
    for name, factor in (("exp_avg", matrix), ("exp_avg_sq", matrix.square())):
        if name in state:
            moments = state[name].movedim(dim, -1)[..., : len(matrix)]
            moments.copy_(moments @ factor)
