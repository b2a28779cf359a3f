"""Cost of a structure, and the atoms that fill a budget. Functions of flat tensors over atoms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .gates.trained import TrainedTaskGates

_BISECTIONS = 40  # halves an interval of at most a few hundred to below float32 resolution


def parameter_cost(expected: Tensor, costs: Tensor, total: float) -> Tensor:
    r"""Expected share of the supernet's parameters, :math:`\sum_a c_a E[z_a] / \sum_a c_a`, a scalar."""
    return (costs * expected).sum() / total


@torch.no_grad()
def shift_to_budget(gates: TrainedTaskGates, costs: Tensor, budget: float) -> None:
    """Set the shift of ``gates`` so that the expected cost equals ``budget`` (the shifted global sigmoid).

    Atoms then compete for a fixed sum: what one gains the others lose, and no weight has to be tuned. By bisection,
    on the device, without waiting for it. A budget above the whole cost opens everything. Source: S3Delta, Hu et al.
    2022 (arXiv 2206.07382), section 3.3.

    Args:
        costs: (atoms,) parameters of each atom.
        budget: expected parameters to hold.
    """
    gates.shift_by(costs.new_zeros(()))
    logits = gates.logits()
    low, high = logits.min() - 30, logits.max() + 30
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        gates.shift_by(middle)
        above = (costs * gates.expected()).sum() > budget
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    gates.shift_by((low + high) / 2)


def open_within(logits: Tensor, costs: Tensor, budget: float, worth: Tensor | None = None) -> Tensor:
    """The atoms to keep so that their cost comes as near to ``budget`` from below as it can, (atoms,) of bool.

    Most open first; an atom that does not fit any more is passed over for smaller ones after it. Where it is known what
    atoms are worth, a kept atom then makes place for another as long as that raises the sum: large atoms that come late
    would leave much of a small budget empty.

    Args:
        logits: (atoms,) order of choice.
        costs: (atoms,) parameters of each atom.
        budget: parameters in all.
        worth: (atoms,) whose sum over kept atoms is raised; None to stop at the first choice.
    """
    order = logits.cpu().argsort(descending=True, stable=True).numpy()  # faster on the CPU
    sizes = costs.cpu().double().numpy()
    chosen = np.zeros(len(sizes), dtype=bool)
    left = _fill(chosen, order, sizes, budget)
    if worth is not None:
        _exchange(chosen, order, sizes, worth.detach().cpu().double().numpy(), left)
    return torch.from_numpy(chosen).to(logits.device)


def _fill(chosen: np.ndarray, order: np.ndarray, sizes: np.ndarray, left: float) -> float:
    """Mark atoms in ``order`` that still fit into ``left``; return the rest."""
    waiting = order[~chosen[order]]
    while len(waiting := waiting[sizes[waiting] <= left]):
        spent = sizes[waiting].cumsum()
        count = int(np.searchsorted(spent, left, side="right"))  # as many in a row as fit
        chosen[waiting[:count]] = True
        left -= float(spent[count - 1])
        waiting = waiting[count:]
    return left


def _exchange(chosen: np.ndarray, order: np.ndarray, sizes: np.ndarray, worth: np.ndarray, left: float) -> None:
    """Exchange kept atoms for others as long as that raises their total worth.

    Among atoms of one size the best pair is always the least of those that are kept and the most of the others, so only
    sizes are compared with each other.
    """
    if np.isnan(worth).any():
        return
    classes = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    while chosen.any() and not chosen.all():
        leave = [atoms[chosen[atoms]] for atoms in classes]
        enter = [atoms[~chosen[atoms]] for atoms in classes]
        least = [int(atoms[worth[atoms].argmin()]) for atoms in leave if len(atoms)]
        most = [int(atoms[worth[atoms].argmax()]) for atoms in enter if len(atoms)]
        pairs = [
            (worth[new] - worth[out], out, new) for out in least for new in most if sizes[new] - sizes[out] <= left
        ]
        gain, out, new = max(pairs, default=(0.0, 0, 0))
        if not gain > 0:
            return
        chosen[out], chosen[new] = False, True
        left = _fill(chosen, order, sizes, left + float(sizes[out] - sizes[new]))
