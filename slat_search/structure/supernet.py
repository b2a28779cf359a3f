"""The supernet: every candidate at every site, behind one flat tensor of gates for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import SlatError
from .adapter import Adapter
from .attachment import Attachment
from .candidates import Candidates
from .extra_state import pack, supernet_state
from .gates import GATES, TaskGates
from .kinds import unknown_kind
from .layout import Layout
from .multitask.frozen_pool import FrozenPool
from .multitask.outcome import Outcome, shared_structure
from .multitask.shared_adapter import SharedAdapter
from .multitask.shared_structure import SharedStructure
from .optimizer import replace_parameter
from .options import SearchOptions
from .pressure import Pressure
from .sites import Site
from .space import Space
from .structure import Structure

_DEFAULT_OPTIONS = SearchOptions()


class Supernet(nn.Module):
    """Gated candidates on a frozen backbone, for any PyTorch training loop.

    Gates are set at the start of each forward pass of ``backbone``: sampled while ``training``, those of
    the discretized structure in ``eval()`` (closed atoms 0, open atoms at their value). So evaluation
    measures exactly what :meth:`discretize` turns into a compact adapter.

    Several tasks share the candidates, with one row of gates each; :meth:`switch` selects the task before a batch. An
    atom stays while a task uses it; see :class:`.TaskGates` for its cost.

    Example::

        supernet = Supernet(backbone, find_sites(backbone))
        for batch in batches:  # candidates stand at zero while they are judged
            task_loss(backbone(**batch)).backward()
            supernet.record_gradients()
            supernet.zero_grad()
        supernet.decide(budget=1000)
        adapter = supernet.discretize()  # to be trained

    Args:
        backbone: a frozen model.
        sites: where candidates may be inserted.
        space: the candidates; by default those of the command line.
        options: how atoms are chosen.
        tasks: names of the tasks.
        pool: trained modules of earlier tasks, which the one new task may use; see :class:`.FrozenPool`.

    Attributes:
        tasks: names of all tasks, those of the pool first.
        adapter: holds the candidates' weights.
        gates: a row of gates for each task; None once the search has ended.
        pressure: the weight of sparsity or the budget.
        reentrant: whether the backbone checkpoints activations with ``use_reentrant=True``.

    Raises:
        SlatError: an unknown kind of gates, a task that the pool has already, or a space that does not fit the pool.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[Site],
        space: Space | None = None,
        options: SearchOptions = _DEFAULT_OPTIONS,
        tasks: Sequence[str] = ("task",),
        pool: SharedAdapter | None = None,
    ):
        super().__init__()
        if options.kind not in GATES:
            raise SlatError(f"gates: {unknown_kind(options.kind, GATES)}")
        self.options, space = options, space or Space()
        self._pool = FrozenPool(pool, space) if pool is not None else None
        self.tasks = (*(self._pool.tasks if self._pool else ()), *tasks)
        if len(set(self.tasks)) < len(self.tasks):
            raise SlatError(f"structure: the pool has a task {self.tasks[-1]!r} already")
        self._candidates = Candidates(backbone, sites, space, self._pool)
        self.adapter = self._candidates.adapter
        kind = GATES[options.kind]
        pool_scales = self._pool.scales(self.layout) if self._pool else None
        rows = [kind.build(self.layout, options) for _ in self.tasks]
        self.gates: TaskGates[Any] | None = kind.over_tasks(rows, options, pool_scales).to(self.costs.device)
        self.pressure = Pressure(float(self.params))
        self.reentrant = False
        self._outcome: Outcome | None = None  # set when a search over several tasks has ended
        self._attachment = Attachment(backbone, self)
        self.switch(len(self.tasks) - 1 if self._pool else 0)

    @property
    def backbone(self) -> nn.Module:
        """Return the frozen model."""
        return self._attachment.backbone

    @property
    def layout(self) -> Layout:
        """Return the positions of atoms and units in flat tensors."""
        return self._candidates.layout

    def register(self) -> None:
        """Become a submodule of the backbone until :meth:`detach`, see :meth:`.Attachment.register`."""
        self._attachment.register()

    @property
    def params(self) -> int:
        """Return the number of parameters of all remaining atoms."""
        return self.layout.params

    @property
    def costs(self) -> Tensor:
        """Return the number of parameters of each remaining atom, (atoms,)."""
        return self.layout.costs

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        if (parameter := next(self.adapter.parameters(), None)) is not None:
            self._candidates.to(parameter.device)
            self._outcome = self._outcome and self._outcome.to(parameter.device)
        return self

    def switch(self, task: int) -> None:
        """Use the gates of task number ``task`` for the following batches."""
        self._task = task
        if self.gates is not None:
            self.gates.task = task

    def sample_gates(self) -> None:
        """Set every module's gate for the next forward pass (one gather for the whole model)."""
        if not self.layout.parts or not self.adapter.active:
            return
        if self.gates is not None:
            z = self.gates.sample() if self.training else (self.gates.values() * self._users())[self._task]
        elif self._outcome is not None:
            z = self._outcome.scales[self._task]
        else:  # weights hold the gates of one task
            return
        by_part = self.layout.by_part_reentrant if self.reentrant else self.layout.by_part
        for part, gate in zip(self.layout.parts, by_part(z), strict=True):
            part.site.gates[part.name] = gate

    def cost(self) -> Tensor:
        """Return the expected cost as a fraction of the whole supernet's, a scalar; trained gates get its gradient."""
        return self.costs.new_zeros(()) if self.gates is None else self.pressure.cost(self.gates, self.costs)

    def sparsity_loss(self, weight: float) -> Tensor:
        """Return the sparsity loss, a scalar, for any kind of gates. Call it before each backward pass.

        Trained gates learn from it. For measured gates it is 0: :meth:`shrink` and :meth:`discretize` close atoms whose
        worth per parameter is below ``weight`` times the average of the space.
        """
        self.pressure.weight = weight
        return self.costs.new_zeros(()) if self.gates is None else self.pressure.loss(self.gates, self.costs)

    def set_budget(self, budget: float) -> None:
        """Shift all gates so that the expected parameters equal ``budget``, which the structure then fills.

        Call it before each step, with a budget that anneals from the whole supernet down to the target. Beside a pool
        it covers new modules only.
        """
        self.pressure.set_budget(self.gates, self.costs, budget + self.inherited)

    def _users(self) -> Tensor:
        """Return the uses of the discretized structure, (tasks, atoms) of bool."""
        if self.gates is not None:
            return self.pressure.users(self.gates, self.costs)
        assert self._outcome is not None
        return self._outcome.uses

    def structure(self) -> Structure | SharedStructure:
        """Return the discretized structure: the open atoms and, for several tasks, their users."""
        if len(self.tasks) > 1:
            return shared_structure(self.layout, self.tasks, self._users(), self.adapter.options)
        if self.gates is None:
            return self.adapter.structure
        return Structure(tuple(self.layout.open_modules(self._users()[0].tolist())), self.adapter.options)

    @property
    def inherited(self) -> int:
        """Return the number of parameters of the frozen pool beside the search."""
        return self._pool.params if self._pool else 0

    @property
    def size(self) -> int:
        """Return the number of parameters of the discretized structure, without the inherited ones."""
        return int(self.costs[self._users().any(dim=0)].sum()) - self.inherited

    def after_update(self) -> None:
        """Restore frozen weights after an optimizer step."""
        if self._pool is not None:
            self._pool.restore()

    def take_measurements(self, average: Callable[[Tensor], Tensor] | None = None) -> None:
        """End a step of one or more backward passes; see :meth:`.TaskGates.take_measurements`."""
        if self.gates is not None:
            self.gates.take_measurements(average)

    @torch.no_grad()
    def record_gradients(self) -> None:
        """Record the gradients of the last batch for the current task of a screening.

        Raises:
            ValueError: gates of another kind, or a search that has ended.
        """
        self._search_gates().record(self._candidates.gradients())

    def _search_gates(self) -> TaskGates[Any]:
        """Return the gates.

        Raises:
            ValueError: the search has ended.
        """
        if self.gates is None:
            raise ValueError("the search has ended, and there are no gates any more")
        return self.gates

    def decide(self, sparsity_weight: float | None = None, budget: float | None = None) -> None:
        """Judge the candidates by the recorded gradients; :meth:`discretize` then removes the rejected ones.

        Args:
            sparsity_weight: see :class:`.Pressure`; by default that of :meth:`sparsity_loss`. Not used under a budget.
            budget: parameters to fill; None for the weight.

        Raises:
            ValueError: nothing was recorded, gates of another kind than screening, or a search that has ended.
        """
        gates = self._search_gates()
        gates.decide()
        if budget is not None:
            self.set_budget(budget)
        else:
            weight = self.pressure.weight if sparsity_weight is None else sparsity_weight
            self.pressure.set_price(gates, self.costs, weight)

    def rotate_to_svd(self, optimizer: Optimizer | None = None) -> None:
        """Write each LoRA in its principal directions, see :func:`.rotate_to_svd`."""
        if self.gates is not None:
            self._candidates.rotate_to_svd(self.gates.active, optimizer)

    @torch.no_grad()
    def drop_oversized(self, budget: float) -> int:
        """Remove atoms larger than ``budget``, which would only displace those that fit. Returns how many."""
        if self.gates is None:
            return 0
        return self._candidates.remove((self.costs > budget) & ~self.gates.paid, self.gates)

    @torch.no_grad()
    def shrink(self, optimizer: Optimizer | None = None, below: float = 0.05) -> int:
        """Close uses, and remove unused atoms with their optimizer state. Returns the number of removed atoms.

        Trained gates ``below`` a value close, see :meth:`.TrainedTaskGates.still_needed`.
        """
        if self.gates is None:
            return 0
        uses = self.gates.still_needed(self._users(), below, self.costs, self.pressure.budget)
        return self._candidates.close(uses, self.gates, optimizer)

    @torch.no_grad()
    def discretize(self, optimizer: Optimizer | None = None) -> Adapter | SharedAdapter:
        """End the search: remove unused atoms and drop the gates.

        Outputs are those of ``eval()`` just before. With one task the open gates are multiplied into the weights; with
        several they stay as fixed scales. A result without atoms is valid: the bare head.
        """
        if self.gates is not None:
            self._candidates.close(self._users(), self.gates, optimizer)
            if optimizer is not None:
                for variable in self.gates.variables:
                    replace_parameter(optimizer, variable, None)
            scales = self.gates.values()
            if len(self.tasks) > 1:
                self._outcome = Outcome(scales, self.gates.active)
            else:
                self.layout.fold(scales[0])
            self.adapter.open_gates()
            self.gates = None
        return self.adapter if self._outcome is None else self._outcome.adapter(self.adapter, self.layout, self.tasks)

    def get_extra_state(self) -> Tensor:
        """Return the remaining atoms, so that ``load_state_dict`` of an equal supernet first shrinks to them."""
        kind, atoms, outcome = self.options.kind, self._candidates.atoms, self._outcome
        state: dict[str, Any] = {"kind": kind, "standing": atoms, "budget": self.pressure.budget}
        state |= {"settled": self.gates is None, "scales": None, "uses": None} | (vars(outcome) if outcome else {})
        return pack({**state, "structure": self.adapter.structure.packed() if self.gates is None else None})

    def set_extra_state(self, state: Tensor | Mapping[str, Any]) -> None:
        """Shrink to the atoms of a state; weights and gates load after this. Raises as :func:`.supernet_state` does."""
        atoms = self._candidates.atoms
        values = supernet_state(state, self.options.kind, atoms, self.gates is None)
        if self.gates is not None:
            self._candidates.remove(~torch.isin(atoms, values["standing"].to(atoms.device)), self.gates)
        self.pressure.budget = values["budget"]
        self._outcome = None
        if values["scales"] is not None:
            self._outcome = Outcome(values["scales"], values["uses"]).to(atoms.device)
        if values["settled"]:
            self.adapter.open_gates()
            self.gates = None

    def detach(self) -> None:
        """Remove the hooks and gates from the backbone."""
        self._attachment.remove()
        self.adapter.detach()
