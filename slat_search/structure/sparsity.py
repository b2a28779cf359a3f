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
    r"""Return the expected fraction of the supernet's parameters, :math:`\sum_a c_a E[z_a] / \sum_a c_a`, a scalar."""
    return (costs * expected).sum() / total


@torch.no_grad()
def shift_to_budget(gates: TrainedTaskGates, costs: Tensor, budget: float) -> None:
    """Set the shift of ``gates`` so that the expected cost equals ``budget`` (the shifted global sigmoid).

    Atoms then compete for a fixed sum: what one gains the others lose, and no weight has to be tuned. By bisection,
    on the device, without waiting for it. A budget above the whole cost opens everything. Source: S3Delta, Hu et al.
    2022 (arXiv 2206.07382), section 3.3.

    Args:
        costs: (atoms,) parameters of each atom.
        budget: expected number of parameters.
    """
    gates.shift_by(costs.new_zeros(()))
    logits = gates.logits()
    low, high = logits.min() - 30, logits.max() + 30
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        gates.shift_by(middle)
        is_above = (costs * gates.expected()).sum() > budget
        low, high = torch.where(is_above, middle, low), torch.where(is_above, high, middle)
    gates.shift_by((low + high) / 2)


def open_within(logits: Tensor, costs: Tensor, budget: float, worth: Tensor | None = None) -> Tensor:
    """Return the atoms to keep so that their cost comes as near to ``budget`` from below as it can, (atoms,) of bool.

    Atoms are chosen from the most open one down; one that no longer fits is skipped in favor of smaller ones after it.
    Where the worth of atoms is known, chosen atoms are then exchanged for others as long as that raises the total
    worth: large atoms that come late would leave much of a small budget empty.

    Args:
        logits: (atoms,) order of choice.
        costs: (atoms,) parameters of each atom.
        budget: parameters in all.
        worth: (atoms,) whose sum over chosen atoms is raised; None to stop at the first choice.
    """
    order = logits.cpu().argsort(descending=True, stable=True).numpy()  # faster on the CPU
    sizes = costs.cpu().double().numpy()
    mask = np.zeros(len(sizes), dtype=bool)
    room = _fill(mask, order, sizes, budget)
    if worth is not None:
        _exchange(mask, order, sizes, worth.detach().cpu().double().numpy(), room)
    return torch.from_numpy(mask).to(logits.device)


def _fill(mask: np.ndarray, order: np.ndarray, sizes: np.ndarray, room: float) -> float:
    """Mark atoms in ``order`` that still fit into ``room``; return the room that remains."""
    queue = order[~mask[order]]
    while len(queue := queue[sizes[queue] <= room]):
        cumulative_sizes = sizes[queue].cumsum()
        count = int(np.searchsorted(cumulative_sizes, room, side="right"))  # as many in a row as fit
        mask[queue[:count]] = True
        room -= float(cumulative_sizes[count - 1])
        queue = queue[count:]
    return room


def _exchange(mask: np.ndarray, order: np.ndarray, sizes: np.ndarray, worth: np.ndarray, room: float) -> None:
    """Exchange chosen atoms for others as long as that raises their total worth.

    Among atoms of one size the best exchange is always that of the chosen atom of least worth for the other atom of
    most worth, so only sizes are compared with each other.
    """
    if np.isnan(worth).any():
        return
    size_classes = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    while mask.any() and not mask.all():
        open_atoms = [atoms[mask[atoms]] for atoms in size_classes]
        closed_atoms = [atoms[~mask[atoms]] for atoms in size_classes]
        worst_open = [int(atoms[worth[atoms].argmin()]) for atoms in open_atoms if len(atoms)]
        best_closed = [int(atoms[worth[atoms].argmax()]) for atoms in closed_atoms if len(atoms)]
        pairs = [
            (worth[new] - worth[old], old, new)
            for old in worst_open
            for new in best_closed
            if sizes[new] - sizes[old] <= room
        ]
        gain, old, new = max(pairs, default=(0.0, 0, 0))
        if not gain > 0:
            return
        mask[old], mask[new] = False, True
        room = _fill(mask, order, sizes, room + float(sizes[old] - sizes[new]))
