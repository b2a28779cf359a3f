"""Let an optimiser follow parameters that got smaller."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Optimizer


def replace_parameter(
    optimiser: Optimizer, old: nn.Parameter, new: nn.Parameter | None, dim: int = 0, index: Tensor | None = None
) -> None:
    """Put ``new`` in the place of ``old`` and carry the state over; ``new=None`` forgets ``old``.

    State tensors of the parameter's shape (Adam's moments) are indexed with ``index`` along ``dim``;
    others (the step counter) are kept as they are. A parameter that the optimiser does not hold is ignored.
    """
    for group in optimiser.param_groups:
        place = next((i for i, p in enumerate(group["params"]) if p is old), None)
        if place is None:
            continue
        state = optimiser.state.pop(old, {})
        if new is None:
            del group["params"][place]
            return
        group["params"][place] = new
        if state and index is not None:
            optimiser.state[new] = {
                name: value.index_select(dim, index.to(value.device))
                if isinstance(value, Tensor) and value.shape == old.shape
                else value
                for name, value in state.items()
            }
        return
