"""Update an optimizer for parameters that shrank or changed basis."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def replace_parameter(
    optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter | None, dim: int = 0, index: Tensor | None = None
) -> None:
    """Put ``new`` in the place of ``old`` and carry the state over; ``new=None`` forgets ``old``.

    State tensors of the parameter's shape (Adam's moments) are indexed with ``index`` along ``dim``;
    others (the step counter) are kept as they are. A parameter that the optimizer does not hold is ignored.
    """
    for group in optimizer.param_groups:
        place = next((i for i, p in enumerate(group["params"]) if p is old), None)
        if place is None:
            continue
        state = optimizer.state.pop(old, {})
        if new is None:
            del group["params"][place]
            return
        group["params"][place] = new
        if state and index is not None:
            optimizer.state[new] = {
                name: value.index_select(dim, index.to(value.device))
                if isinstance(value, Tensor) and value.shape == old.shape
                else value
                for name, value in state.items()
            }
        return


@torch.no_grad()
def turn_parameter(optimizer: Optimizer, parameter: nn.Parameter, matrix: Tensor, dim: int) -> None:
    """Follow a change of basis of the first units of a parameter along ``dim``: its gradients ``g`` become ``g matrix``
    (``matrix.T g`` for ``dim=0``).

    Adam's first moment changes as gradients do. Of the second moments only the diagonal is known, and it changes as if
    there were nothing beside it.

    Args:
        matrix: (units, units), for as many leading units as it has.
    """
    state = optimizer.state.get(parameter, {})
    for name, factor in (("exp_avg", matrix), ("exp_avg_sq", matrix.square())):
        if name in state:
            moments = state[name].movedim(dim, -1)[..., : len(matrix)]
            moments.copy_(moments @ factor)
