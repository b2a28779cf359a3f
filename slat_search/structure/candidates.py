"""The candidates of a search on a backbone, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .adapter import Adapter, attach
from .gates import TaskGates
from .layout import Layout
from .multitask.frozen_pool import FrozenPool
from .optimizer import replace_parameter
from .sites import Site
from .space import Space
from .svd_rotation import rotate_to_svd


class Candidates:
    """Candidates attached to a backbone, as numbered atoms.

    Args:
        backbone: a frozen model.
        sites: where candidates may stand.
        space: which candidates.
        pool: trained modules of earlier tasks among them.

    Attributes:
        adapter: holds their weights.
        layout: where atoms and units lie in flat tensors.
        atoms: (atoms,) the numbers that the atoms had at the start.
    """

    def __init__(self, backbone: nn.Module, sites: Sequence[Site], space: Space, pool: FrozenPool | None = None):
        self.adapter: Adapter = attach(backbone, pool.whole(sites) if pool else space.supernet(sites))
        self.pool = pool
        self._space = pool.space if pool else space
        device = next(backbone.parameters()).device
        self.layout = Layout(self.adapter, self._space, 1 + max(site.layer for site in sites), device)
        self.atoms = torch.arange(len(self.layout.costs), device=device)
        if pool is not None:
            pool.freeze(self.layout)

    def gradients(self) -> Tensor:
        """Return the gradients of all parameters laid end to end, (parameters,), as of :meth:`.Layout.parameters`."""
        parameters = [parameter for _, parameter, _ in self.layout.parameters()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        return torch.cat([self.layout.costs.new_zeros(0), *(gradient.reshape(-1) for gradient in gradients)])

    @torch.no_grad()
    def rotate_to_svd(self, uses: Tensor, optimizer: Optimizer | None) -> None:
        """Write each LoRA in its principal directions, but not where ranks have different users, nor what is frozen.

        Args:
            uses: (tasks, atoms) of bool.
        """
        left_out = [*self.pool.modules] if self.pool else []
        for part, used in zip(self.layout.parts, self.layout.by_part(uses), strict=True):
            ranks = used[:, : sum(units for kind, units in part.atoms if kind == "lora")]
            if ranks.shape[1] and bool((ranks != ranks[:, :1]).any()):
                left_out.append(part.module)
        rotate_to_svd(self.adapter, optimizer, left_out=left_out)

    def to(self, device: torch.device) -> None:
        """Follow the adapter to ``device``."""
        if device != self.atoms.device:
            self.atoms = self.atoms.to(device)
            self.layout = Layout(self.adapter, self._space, self.layout.layers, device)

    def close(self, uses: Tensor, gates: TaskGates[Any], optimizer: Optimizer | None) -> int:
        """Keep only ``uses`` (tasks, atoms) and remove unused atoms; returns their number."""
        gates.close(uses)
        return self.remove(~gates.active.any(dim=0), gates, optimizer)

    def remove(self, closed: Tensor, gates: TaskGates[Any], optimizer: Optimizer | None = None) -> int:
        """Remove the ``closed`` (atoms,) of bool, physically; optimizer state follows. Returns how many."""
        removed = int(closed.sum())
        if removed:
            self._remove(closed, optimizer)
            keep = (~closed).nonzero().squeeze(1)
            for variable, rest in gates.keep(keep):
                if optimizer is not None:
                    replace_parameter(optimizer, variable, rest, 0, keep)
        return removed

    def _remove(self, closed: Tensor, optimizer: Optimizer | None) -> None:
        layout = self.layout
        flags = layout.by_part(~closed)
        stays: dict[nn.Module, Tensor] = {part.module: flag for part, flag in zip(layout.parts, flags, strict=True)}
        for part, flag in zip(layout.parts, flags, strict=True):
            if flag.all():
                continue
            for old, new, dim, index in part.site.keep(part.name, flag.nonzero().squeeze(1).cpu()):
                if optimizer is not None:
                    replace_parameter(optimizer, old, new, dim, index)
        self.adapter.drop_empty_sites()
        self.atoms = self.atoms[~closed]
        self.layout = Layout(self.adapter, self._space, layout.layers, closed.device)
        if self.pool is not None:
            self.pool.follow(stays)
