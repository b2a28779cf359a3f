"""Gates of several tasks over one pool of atoms: a row a task."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .gates import Gates
from .saliency import Saliency

_OPEN = 50.0  # logit of a use that is given
_SHUT = -100.0  # of structure variables that cannot open again: about the logarithm of the smallest saliency


class TaskGates(nn.Module):
    r"""One row of :class:`Gates` a task, and what stands because of them.

    Tasks share a pool of modules, and each has structure variables of its own (arXiv 2509.03057, section on several
    tasks). An atom that ``n`` tasks use costs

    .. math:: c_a\,(1 + \kappa\,(n - 1)), \qquad n \ge 1

    with ``sharing`` :math:`\kappa`: at 0 it is paid once and further users are free, which favours overlap; at 1 each
    user pays as if it were alone; above 1 overlap is discouraged. What stands, and for whom:

    * *Trained gates*: the expected cost is :math:`(1-\kappa)(1 - \prod_t (1 - p_{ta})) + \kappa \sum_t p_{ta}` times
      :math:`c_a`, with :math:`p_{ta}` the probability that task ``t`` uses the atom. A gate above one half is a use.
    * *Saliency*: at a price :math:`p` of a parameter the users of an atom are the set that gains most,
      :math:`\max_S \sum_{t \in S} s_{ta} - p\, c_a (1 + \kappa (|S| - 1))`: the task that needs it most, and each other
      that gains more than :math:`\kappa p c_a`. It stands while that is above 0, so its worth for each parameter is
      :math:`\max_n \sum_{i \le n} s_{(i)a} / (c_a (1 + \kappa (n - 1)))` over its ``n`` most salient tasks. Tasks
      differ in how much loss is at stake while atoms are chosen: one that learns late has next to none. With ``equal``
      each task's saliency is brought to the same sum over atoms (their geometric mean), so that it counts as a share.

    A use that was closed stays closed. The uses of some first tasks may be given and never change: what they use is
    paid already.

    Args:
        rows: gates of each task, all over the same atoms.
        sharing: what a further user of an atom pays of it.
        given: (given tasks, atoms) gates of the first tasks, 0 where they do not use an atom; None where all are to be
            found.
        equal: whether saliency counts as a share of the task's own.

    Attributes:
        task: number of the task whose gates are drawn.
        active: (tasks, atoms) uses that were not closed.
    """

    active: Tensor
    given: Tensor

    def __init__(self, rows: Sequence[Gates], sharing: float = 0.0, given: Tensor | None = None, equal: bool = False):
        super().__init__()
        self.rows = nn.ModuleList(rows)
        self.sharing = sharing
        self.equal = equal
        self.task = 0
        atoms = len(rows[0].alpha)
        self.register_buffer("given", given if given is not None else torch.zeros(0, atoms))
        active = torch.ones(len(rows), atoms, dtype=torch.bool)
        active[: len(self.given)] = self.given != 0
        self.register_buffer("active", active)

    def _each(self) -> list[Gates]:
        return [*self.rows]

    # -- what a search asks of gates -------------------------------------------------------------------

    @property
    def kind(self) -> str:
        return self._each()[0].kind

    @property
    def soft(self) -> bool:
        return self._each()[0].soft

    @property
    def variables(self) -> list[nn.Parameter]:
        return [variable for row in self._each()[len(self.given) :] for variable in row.variables]

    @property
    def temperature(self) -> float:
        return self._each()[0].temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        for row in self._each():
            row.temperature = value

    @property
    def price(self) -> float:
        return self._each()[0].price

    @price.setter
    def price(self, value: float) -> None:
        for row in self._each():
            row.price = value

    @property
    def passes(self) -> int:
        return self._each()[0].passes

    @passes.setter
    def passes(self, value: int) -> None:
        for row in self._each():
            row.passes = value

    def shift_by(self, value: Tensor) -> None:
        for row in self._each():
            row.shift_by(value)

    def sample(self) -> Tensor:
        """Gates of the current task for one training step, (atoms,)."""
        if self.task < len(self.given):
            return self.given[self.task]
        return self._each()[self.task].sample() * self.active[self.task]

    @torch.no_grad()
    def values(self) -> Tensor:
        """Deterministic gates of every task, (tasks, atoms)."""
        found = torch.stack([row.values() for row in self._each()]) * self.active
        return torch.cat([self.given, found[len(self.given) :]])

    def expected(self) -> Tensor:
        """What of each atom's cost is expected to be paid, (atoms,); above 1 where users pay again."""
        if not self.soft:
            users = self.users(self.is_open()).to(self.active.dtype).sum(dim=0).to(torch.float32)
            return torch.where(users > 0, 1 + self.sharing * (users - 1), 0.0)
        p = torch.stack([row.expected() for row in self._each()]) * self.active
        p = torch.cat([(self.given != 0).to(p.dtype), p[len(self.given) :]])
        return (1 - self.sharing) * (1 - (1 - p).prod(dim=0)) + self.sharing * p.sum(dim=0)

    # -- who uses what ---------------------------------------------------------------------------------

    def _densities(self) -> Tensor:
        """Logarithm of each task's saliency for each parameter, (tasks, atoms)."""
        found = torch.stack([row.density() for row in self._each() if isinstance(row, Saliency)])
        if self.equal and self._seen():
            total = (found + self.log_costs).masked_fill(~self.active, -torch.inf).logsumexp(dim=1)
            searching = total[len(self.given) :]
            found = found - total[:, None] + searching[searching.isfinite()].mean()  # without tasks that use nothing
        return self._with_given(found, torch.inf)

    def _logits(self) -> Tensor:
        """Of trained gates, (tasks, atoms)."""
        return self._with_given(torch.stack([row.logits() for row in self._each()]), _OPEN)

    def _with_given(self, found: Tensor, most: float) -> Tensor:
        """``found`` (tasks, atoms) where a task may use an atom, and ``most`` where it is given that it does."""
        found = found.masked_fill(~self.active, -torch.inf)
        given = torch.where(self.given != 0, most, -torch.inf)
        return torch.cat([given, found[len(self.given) :]])

    def _seen(self) -> bool:
        return all(row.seen for row in self._each()[len(self.given) :] if isinstance(row, Saliency))

    def _pooled(self) -> Tensor:
        """Logarithm of what an atom is worth to all tasks for each parameter that they pay, (atoms,)."""
        ordered = self._densities().sort(dim=0, descending=True).values
        users = torch.arange(len(ordered), device=ordered.device, dtype=ordered.dtype)
        paid = (1 + self.sharing * users).log()
        return (ordered.logcumsumexp(dim=0) - paid[:, None]).amax(dim=0)

    def logits(self) -> Tensor:
        """The order in which atoms stand, (atoms,); positive = open."""
        if self.soft:
            return self._logits().amax(dim=0)
        if not self._seen():
            return self._each()[0].alpha.detach()
        return self._pooled() - math.log(max(self.price, sys.float_info.min))

    def worth(self) -> Tensor | None:
        """What the tasks' losses would lose without each atom, (atoms,); None where that is not known."""
        if self.soft:
            return None
        return (self._pooled() + self.log_costs).exp() if self._seen() else None

    @property
    def log_costs(self) -> Tensor:
        """Logarithm of the parameters of each atom, (atoms,); of saliency."""
        first = self._each()[0]
        assert isinstance(first, Saliency)
        return first.log_costs

    @torch.no_grad()
    def is_open(self) -> Tensor:
        """Atoms that some task uses, (atoms,) of bool; the best one in any case, once they were measured."""
        logits = self.logits()
        is_open = logits > 0
        if not self.soft and self._seen() and len(logits):
            is_open[logits.argmax()] = True
        return is_open

    @torch.no_grad()
    def users(self, kept: Tensor, held: bool = False) -> Tensor:
        """The tasks that use each of the atoms that stand, (tasks, atoms) of bool; each has at least one.

        Args:
            kept: (atoms,) of bool.
            held: under a budget, so that the price is what the least of the kept atoms is worth.
        """
        if self.soft:
            wanted = self._logits()
            uses = wanted > 0
        else:
            if not self._seen() or not kept.any():
                return self.active & kept
            wanted = self._densities()
            price = float(self._pooled()[kept].min()) if held else math.log(max(self.price, sys.float_info.min))
            uses = wanted > price + (math.log(self.sharing) if self.sharing > 0 else -math.inf)
        first = nn.functional.one_hot(wanted.argmax(dim=0), len(wanted)).T.bool()
        return (uses | first) & self.active & kept

    @torch.no_grad()
    def close(self, uses: Tensor) -> int:
        """Keep only ``uses`` (tasks, atoms) of those that are active; given ones stay. Returns how many were closed."""
        uses[: len(self.given)] = True
        shut = self.active & ~uses
        self.active &= uses
        for row, closed in zip(self._each(), shut, strict=True):
            row.alpha.masked_fill_(closed, _SHUT)  # so that it takes no place among those that stand
        return int(shut.sum())

    @torch.no_grad()
    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Keep only ``atoms`` (indices); returns old and new structure variables, for an optimiser to follow."""
        self.active = self.active.index_select(1, atoms)
        self.given = self.given.index_select(1, atoms)
        return [change for row in self._each() for change in row.keep(atoms)]

    def get_extra_state(self) -> dict[str, Any]:
        return {"task": self.task}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.task = state["task"]
