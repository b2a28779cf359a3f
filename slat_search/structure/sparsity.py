"""What a structure costs, and terms that keep its gates honest. Functions of flat tensors over atoms."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .gates import Gates
from .task_gates import TaskGates

_BISECTIONS = 40  # halves an interval of at most a few hundred to below float32 resolution


def parameter_cost(expected: Tensor, costs: Tensor, total: float) -> Tensor:
    r"""Expected share of the supernet's parameters, :math:`\sum_a c_a E[z_a] / \sum_a c_a`, a scalar."""
    return (costs * expected).sum() / total


def depth_cost(expected: Tensor, layer: Tensor, layers: int) -> Tensor:
    """Expected share of the blocks that the backward pass goes through, a scalar.

    The backward pass has to reach the lowest block that holds an open atom; with binary gates this is
    ``(layers - lowest) / layers``, and 0 when all are closed. Between, block ``l`` counts as much as the most open
    atom at or below it. The gradient goes to that atom, so the structure retreats upwards one block at a time.

    Args:
        expected: (atoms,) probabilities of being open.
        layer: (atoms,) block of each atom, from 0.
        layers: number of blocks of the model.
    """
    most_open = expected.new_zeros(layers).scatter_reduce(0, layer, expected, "amax")
    return most_open.cummax(dim=0).values.mean()


def gate_entropy(expected: Tensor) -> Tensor:
    """Mean binary entropy of the gates in bits, a scalar in [0, 1].

    As a penalty it guards against a soft supernet that is better than its discretised structure: gates that stay
    half open (the discretisation gap of DARTS; Liu et al. 2019, arXiv 1806.09055).
    """
    p = expected.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log2() + (1 - p) * (1 - p).log2()).mean()


def kind_diversity(expected: Tensor, costs: Tensor, kind: Tensor, kinds: int) -> Tensor:
    """Entropy of the expected cost's distribution over kinds, divided by its maximum, a scalar in [0, 1].

    As a reward it guards against rich-get-richer collapse onto one kind, the skip-connection collapse of DARTS
    (Zela et al. 2020, arXiv 1909.09656).
    """
    if kinds < 2:
        return expected.new_ones(())
    share = expected.new_zeros(kinds).index_add(0, kind, costs * expected)
    share = share / share.sum().clamp(min=1e-12)
    return -(share * share.clamp(min=1e-12).log()).sum() / math.log(kinds)


@torch.no_grad()
def shift_to_budget(gates: Gates | TaskGates, costs: Tensor, budget: float) -> None:
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
        worth: (atoms,) what the kept atoms' sum is to be large in; None to stop at the first choice.
    """
    order = logits.cpu().argsort(descending=True, stable=True).numpy()  # choosing is no work for a GPU
    sizes = costs.cpu().double().numpy()
    kept = np.zeros(len(sizes), dtype=bool)
    left = _fill(kept, order, sizes, budget)
    if worth is not None:
        _exchange(kept, order, sizes, worth.detach().cpu().double().numpy(), left)
    return torch.from_numpy(kept).to(logits.device)


def _fill(kept: np.ndarray, order: np.ndarray, sizes: np.ndarray, left: float) -> float:
    """Mark atoms in ``order`` that still fit into ``left``; returns what is left then."""
    waiting = order[~kept[order]]
    while len(waiting := waiting[sizes[waiting] <= left]):
        spent = sizes[waiting].cumsum()
        count = int(np.searchsorted(spent, left, side="right"))  # as many in a row as fit
        kept[waiting[:count]] = True
        left -= float(spent[count - 1])
        waiting = waiting[count:]
    return left


def _exchange(kept: np.ndarray, order: np.ndarray, sizes: np.ndarray, worth: np.ndarray, left: float) -> None:
    """Let a kept atom make place for another as long as that raises the sum of what is kept.

    Among atoms of one size the best pair is always the least of those that are kept and the most of the others, so only
    sizes are compared with each other.
    """
    if np.isnan(worth).any():
        return
    classes = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    while kept.any() and not kept.all():
        leave = [atoms[kept[atoms]] for atoms in classes]
        enter = [atoms[~kept[atoms]] for atoms in classes]
        least = [int(atoms[worth[atoms].argmin()]) for atoms in leave if len(atoms)]
        most = [int(atoms[worth[atoms].argmax()]) for atoms in enter if len(atoms)]
        pairs = [
            (worth[new] - worth[out], out, new) for out in least for new in most if sizes[new] - sizes[out] <= left
        ]
        gain, out, new = max(pairs, default=(0.0, 0, 0))
        if not gain > 0:
            return
        kept[out], kept[new] = False, True
        left = _fill(kept, order, sizes, left + float(sizes[out] - sizes[new]))
