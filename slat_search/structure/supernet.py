"""The supernet: every candidate at every site, behind one flat tensor of gates for each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import SlatError
from . import sparsity
from .adapter import Adapter
from .attachment import Attachment
from .candidates import Candidates
from .extra_state import pack, unpack
from .gates import GATES, TaskGates
from .gates.screening import ScreeningTaskGates
from .layout import Layout, Part
from .multitask.frozen_pool import FrozenPool
from .multitask.outcome import scales_of_units, shared_structure
from .multitask.shared_adapter import SharedAdapter
from .multitask.shared_structure import SharedStructure
from .optimizer import replace_parameter
from .options import SearchOptions
from .sites import Site
from .space import Space
from .structure import Structure

_DEFAULT = SearchOptions()


class Supernet(nn.Module):
    """Gated candidates on a frozen backbone, for any PyTorch training loop.

    Gates are drawn at the start of each forward pass of ``backbone``: sampled while ``training``, those of
    the discretized structure in ``eval()`` (closed atoms 0, open atoms at their value). So whatever is
    evaluated is exactly what :meth:`discretize` turns into a compact adapter.

    Several tasks share the candidates and have a row of gates each; before a batch, :meth:`switch` says whose it is. An
    atom stands while some task uses it. See :class:`.TaskGates` for what it costs then.

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
        sites: where candidates may stand.
        space: which candidates; by default those of the command line.
        options: how atoms are chosen.
        tasks: their names.
        pool: trained modules of earlier tasks, which the only one of ``tasks`` may use; see :class:`.FrozenPool`.

    Attributes:
        tasks: names of all tasks, those of the pool first.
        adapter: holds the weights of what stands.
        gates: rows of gates; None once the search has ended.
        budget: parameters that the discretized structure fills, set by :meth:`set_budget`; None without one.
        reentrant: whether the backbone checkpoints activations with ``use_reentrant=True``.

    Raises:
        SlatError: an unknown kind of gates, a task that the pool has already, or a space that does not fit the pool.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sites: Sequence[Site],
        space: Space | None = None,
        options: SearchOptions = _DEFAULT,
        tasks: Sequence[str] = ("task",),
        pool: SharedAdapter | None = None,
    ):
        super().__init__()
        if options.kind not in GATES:
            raise SlatError(f"gates: unknown kind {options.kind!r}; one of {', '.join(GATES)}")
        space = space or Space()
        self.options = options
        self._pool = FrozenPool(pool, space) if pool is not None else None
        self.tasks = (*(self._pool.tasks if self._pool else ()), *tasks)
        if len(set(self.tasks)) < len(self.tasks):
            raise SlatError(f"structure: the pool has a task {self.tasks[-1]!r} already")
        self._candidates = Candidates(backbone, sites, space, self._pool)
        self.adapter = self._candidates.adapter
        kind = GATES[options.kind]
        given = self._pool.scales(self.layout) if self._pool else None
        rows = [kind.build(self.layout, options) for _ in self.tasks]
        self.gates: TaskGates[Any] | None = kind.over_tasks(rows, options, given).to(self.costs.device)
        self.budget: float | None = None
        self.reentrant = False
        self._sparsity = 0.0
        self.total_cost = float(self.params)
        self._scales: Tensor | None = None  # (tasks, atoms) once settled, and which task uses which
        self._uses: Tensor | None = None
        self._attachment = Attachment(backbone, self)
        if self._pool is not None:
            self._pool.freeze(self.layout)
        self.switch(len(self.tasks) - 1 if self._pool else 0)

    @property
    def backbone(self) -> nn.Module:
        """The frozen model."""
        return self._attachment.backbone

    @property
    def layout(self) -> Layout:
        """Where atoms and units lie in flat tensors."""
        return self._candidates.layout

    def register(self) -> None:
        """Become a submodule of the backbone until :meth:`detach`, see :meth:`.Attachment.register`."""
        self._attachment.register()

    @property
    def parts(self) -> list[Part]:
        """The modules that stand."""
        return self.layout.parts

    @property
    def params(self) -> int:
        """Parameters that stand, open or not."""
        return self.layout.params

    @property
    def costs(self) -> Tensor:
        """Parameters of each atom that stands, (atoms,)."""
        return self.layout.costs

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        if (first := next(self.adapter.parameters(), None)) is not None:
            self._candidates.to(first.device)
        return self

    # -- while searching -------------------------------------------------------------------------------

    def switch(self, task: int) -> None:
        """Open the gates of the task of this number for the batches that follow."""
        self._task = task
        if self.gates is not None:
            self.gates.task = task

    def sample_gates(self) -> None:
        """Give every module its gate for the coming forward pass (one gather for the whole model)."""
        z = self._drawn() if self.parts and self.adapter.active else None
        if z is None:
            return
        by_part = self.layout.by_part_reentrant if self.reentrant else self.layout.by_part
        for part, gate in zip(self.parts, by_part(z), strict=True):
            part.site.gates[part.name] = gate

    def _drawn(self) -> Tensor | None:
        """Return the gates of the coming forward pass, (atoms,); None where weights hold them already."""
        if self.gates is None:
            return self._scales[self._task] if self._scales is not None else None
        if self.training:
            return self.gates.sample()
        return (self.gates.values() * self._users())[self._task]

    def cost(self) -> Tensor:
        """Return the expected cost as a share of the whole supernet's, a scalar; comparable when atoms have left.

        It has a gradient where gates are trained. :meth:`sparsity_loss` presses on gates of all kinds.
        """
        if self.gates is None or not len(self.costs):
            return self.costs.new_zeros(())
        return sparsity.parameter_cost(self.gates.expected(), self.costs, self.total_cost)

    def sparsity_loss(self, weight: float) -> Tensor:
        """Press on the parameters that stand, whatever the kind of gates. To be called before each backward pass.

        Gates that are trained learn from what is returned. Those that are measured have no gradient: atoms close with
        :meth:`shrink` or :meth:`discretize` that are not worth ``weight`` times what an average parameter of the space
        is.

        Args:
            weight: of sparsity; 0 for none.

        Returns:
            A scalar to add to the loss; 0 of gates that are measured.
        """
        self._sparsity = weight
        if self.gates is None:
            return self.costs.new_zeros(())
        self.gates.price = weight * self.average_importance()
        return weight * self.cost() if self.gates.variables else self.costs.new_zeros(())

    def set_budget(self, budget: float) -> None:
        """Shift all gates so that the expected parameters equal ``budget``, which the structure then fills.

        To be called before each step, with a budget that anneals from the whole supernet down to the target. Beside a
        pool it is the budget of what is new.
        """
        self.budget = budget + (self._pool.params if self._pool else 0)
        if self.gates is not None and len(self.costs):
            self.gates.set_budget(self.costs, self.budget)

    def _is_open(self) -> Tensor:
        """Return the atoms that stand, (atoms,) of bool: the open ones, or the most open within the budget."""
        assert self.gates is not None
        if self.budget is None:
            return self.gates.is_open()
        return sparsity.open_within(self.gates.logits().detach(), self.costs, self.budget, self.gates.importance())

    def _users(self) -> Tensor:
        """Return who uses which atom of the discretized structure, (tasks, atoms) of bool."""
        if self.gates is not None:
            return self.gates.users(self._is_open(), held=self.budget is not None)
        assert self._uses is not None
        return self._uses

    def structure(self) -> Structure | SharedStructure:
        """Return the discretized structure: the atoms that stand, and of several tasks who uses them."""
        if len(self.tasks) > 1:
            return shared_structure(self.layout, self.tasks, self._users(), self.adapter.options)
        if self.gates is None:
            return self.adapter.structure
        return Structure(tuple(self.layout.kept(self._users()[0].tolist())), self.adapter.options)

    def after_update(self) -> None:
        """Put frozen weights back; to be called after each step of an optimizer."""
        if self._pool is not None:
            self._pool.restore()

    # -- measured gates --------------------------------------------------------------------------------

    def sleep(self) -> None:
        """Let the backbone compute as if there were no candidates, until :meth:`wake`."""
        self.adapter.active = False

    def wake(self) -> None:
        """Let candidates take part again."""
        self.adapter.active = True

    def take_measurements(self, average: Callable[[Tensor], Tensor] | None = None) -> None:
        """End a step whose number of backward passes was not told: see :meth:`.TaskGates.take_measurements`."""
        if self.gates is not None:
            self.gates.take_measurements(average)

    @torch.no_grad()
    def record_gradients(self) -> None:
        """Take the gradients of the batch just gone through into account, for the current task of a screening."""
        self._screening().record(self._candidates.gradients())

    def _screening(self) -> ScreeningTaskGates:
        """Return the gates, which are those of a screening.

        Raises:
            ValueError: they are not.
        """
        if not isinstance(self.gates, ScreeningTaskGates):
            raise ValueError(f"gates of kind {self.options.kind} are not judged by recorded gradients")
        return self.gates

    def decide(self, sparsity_weight: float | None = None, budget: float | None = None) -> None:
        """Judge the candidates by what was recorded; those that are not worth it leave with :meth:`discretize`.

        Args:
            sparsity_weight: how many times what an average parameter of the space is worth an atom has to be worth for
                each of its own; by default that of :meth:`sparsity_loss`. Not used under a budget.
            budget: parameters to fill; None for the weight.
        """
        gates = self._screening()
        gates.decide()
        if budget is not None:
            self.set_budget(budget)
        else:
            weight = self._sparsity if sparsity_weight is None else sparsity_weight
            gates.price = weight * self.average_importance()

    def average_importance(self) -> float:
        """Return what the loss is taken to lose without a parameter of the whole space, on the mean; 0 where gates are
        not measured. Atoms that have left count as worth nothing."""
        return self.gates.average_importance(self.costs, self.total_cost) if self.gates is not None else 0.0

    def rotate_to_svd(self, optimizer: Optimizer | None = None) -> None:
        """Write each LoRA in its principal directions, see :func:`.rotate_to_svd`."""
        if self.gates is not None:
            self._candidates.rotate_to_svd(self.gates.active, optimizer)

    # -- closing atoms ---------------------------------------------------------------------------------

    @torch.no_grad()
    def drop_oversized(self, budget: float) -> int:
        """Remove atoms that alone are larger than ``budget``, which would only push out what fits. Returns how many."""
        return 0 if self.gates is None else self._remove((self.costs > budget) & ~self.gates.paid, None)

    @torch.no_grad()
    def shrink(self, optimizer: Optimizer | None = None, below: float = 0.05) -> int:
        """Close uses, and physically remove atoms that have none left; optimizer state follows. Returns how many.

        Args:
            optimizer: of the training.
            below: trained gates under it close; see :meth:`.TrainedTaskGates.still_needed`.
        """
        if self.gates is None:
            return 0
        return self._close(self.gates.still_needed(self._users(), below, self.costs, self.budget), optimizer)

    def _close(self, uses: Tensor, optimizer: Optimizer | None) -> int:
        """Keep only ``uses`` (tasks, atoms), and remove atoms that have none; returns how many."""
        assert self.gates is not None
        self.gates.close(uses)
        return self._remove(~self.gates.active.any(dim=0), optimizer)

    @torch.no_grad()
    def discretize(self, optimizer: Optimizer | None = None) -> Adapter | SharedAdapter:
        """End the search: remove what is not used and drop the gates.

        The output for each task is that of ``eval()`` just before. The open gates of one task are multiplied into its
        weights; those of several stay as fixed scales. All atoms closed is a valid end: the bare head.
        """
        if self.gates is not None:
            self._close(self._users(), optimizer)
            if optimizer is not None:
                for variable in self.gates.variables:
                    replace_parameter(optimizer, variable, None)
            scales = self.gates.values()
            if len(self.tasks) > 1:
                self._scales, self._uses = scales, self.gates.active
            else:
                for part, gate in zip(self.parts, self.layout.by_part(scales[0]), strict=True):
                    part.module.fold(gate)
            self._drop_gates()
        if self._scales is None:
            return self.adapter
        structure = shared_structure(self.layout, self.tasks, self._users(), self.adapter.options)
        return SharedAdapter(self.adapter, structure, scales_of_units(self.layout, structure, self._scales))

    def _drop_gates(self) -> None:
        for site in self.adapter.site_adapters():
            site.gates.clear()
        self.gates = None

    def _remove(self, closed: Tensor, optimizer: Optimizer | None) -> int:
        removed = int(closed.sum())
        if removed == 0 or self.gates is None:
            return 0
        self._candidates.remove(closed, optimizer)
        keep = (~closed).nonzero().squeeze(1)
        for variable, left in self.gates.keep(keep):
            if optimizer is not None:
                replace_parameter(optimizer, variable, left, 0, keep)
        return removed

    # -- saving ----------------------------------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """Return what stands, so that ``load_state_dict`` of a supernet that was made alike can shrink to it first."""
        state: dict[str, Any] = {
            "kind": self.options.kind,
            "standing": self._candidates.standing,
            "budget": self.budget,
        }
        state |= {"settled": self.gates is None, "scales": self._scales, "uses": self._uses}
        return pack({**state, "structure": self.adapter.structure.packed() if self.gates is None else None})

    def set_extra_state(self, state: Tensor | Mapping[str, Any]) -> None:
        """Shrink to what stood; weights and gates are loaded after this.

        Raises:
            SlatError: something stood there that has left this supernet, or gates of another kind.
        """
        # checkpoints of earlier versions hold plain values, without the kind
        values = unpack(state) if isinstance(state, Tensor) else {"kind": self.options.kind, **state}
        standing = self._candidates.standing
        if values["kind"] != self.options.kind:
            raise SlatError(f"structure: the state is of gates of kind {values['kind']!r}, not {self.options.kind!r}")
        stood = values["standing"].to(standing.device)
        if not torch.isin(stood, standing).all() or (self.gates is None and not values["settled"]):
            raise SlatError("structure: the state is of a supernet with candidates that have left this one; load it "
                            "into a fresh one")  # fmt: skip
        self._remove(~torch.isin(standing, stood), None)
        self.budget, self._scales, self._uses = values["budget"], values["scales"], values["uses"]
        if values["settled"]:
            self._drop_gates()

    def detach(self) -> None:
        """Take everything off the backbone again."""
        self._attachment.remove()
        self.adapter.detach()
