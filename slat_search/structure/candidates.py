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
        sites: where candidates may be inserted.
        space: the candidate kinds and sizes.
        pool: trained modules of earlier tasks that become candidates too.

    Attributes:
        adapter: holds their weights.
        layout: where atoms and units lie in flat tensors.
        atoms: (atoms,) number of each remaining atom in the full supernet.
    """

    def __init__(self, backbone: nn.Module, sites: Sequence[Site], space: Space, pool: FrozenPool | None = None):
        self.adapter: Adapter = attach(backbone, pool.structure(sites) if pool else space.supernet(sites))
        self.pool = pool
        self._space = pool.space if pool else space
        device = next(backbone.parameters()).device
        self.layout = Layout(self.adapter, self._space, 1 + max(site.layer for site in sites), device)
        self.atoms = torch.arange(len(self.layout.costs), device=device)
        if pool is not None:
            pool.freeze(self.layout)

    def gradients(self) -> Tensor:
        """Return the gradients of :meth:`.Layout.parameters` concatenated, (parameters,); 0 where there is none."""
        parameters = [parameter for _, parameter, _ in self.layout.parameters()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        return torch.cat([self.layout.costs.new_zeros(0), *(gradient.reshape(-1) for gradient in gradients)])

    @torch.no_grad()
    def rotate_to_svd(self, uses: Tensor, optimizer: Optimizer | None) -> None:
        """Write each LoRA in its principal directions, except frozen ones and those whose ranks differ in their users.

        Args:
            uses: (tasks, atoms) of bool, whether a task uses an atom.
        """
        excluded = [*self.pool.modules] if self.pool else []
        for part, part_uses in zip(self.layout.parts, self.layout.by_part(uses), strict=True):
            rank_uses = part_uses[:, : sum(units for kind, units in part.atoms if kind == "lora")]
            if rank_uses.shape[1] and bool((rank_uses != rank_uses[:, :1]).any()):
                excluded.append(part.module)
        rotate_to_svd(self.adapter, optimizer, left_out=excluded)

    def to(self, device: torch.device) -> None:
        """Follow the adapter to ``device``."""
        if device != self.atoms.device:
            self.atoms = self.atoms.to(device)
            self.layout = Layout(self.adapter, self._space, self.layout.layers, device)

    def close(self, uses: Tensor, gates: TaskGates[Any], optimizer: Optimizer | None) -> int:
        """Close all but ``uses`` (tasks, atoms) and remove unused atoms. Returns how many were removed."""
        gates.close(uses)
        return self.remove(~gates.active.any(dim=0), gates, optimizer)

    def remove(self, closed: Tensor, gates: TaskGates[Any], optimizer: Optimizer | None = None) -> int:
        """Remove the ``closed`` atoms, (atoms,) of bool, and their optimizer state. Returns how many were removed."""
        count = int(closed.sum())
        if count:
            self._remove(closed, optimizer)
            indices = (~closed).nonzero().squeeze(1)
            for old, new in gates.keep(indices):
                if optimizer is not None:
                    replace_parameter(optimizer, old, new, 0, indices)
        return count

    def _remove(self, closed: Tensor, optimizer: Optimizer | None) -> None:
        layout = self.layout
        masks = layout.by_part(~closed)
        mask_by_module: dict[nn.Module, Tensor] = {
            part.module: mask for part, mask in zip(layout.parts, masks, strict=True)
        }
        for part, mask in zip(layout.parts, masks, strict=True):
            if mask.all():
                continue
            for old, new, dim, index in part.site.keep(part.name, mask.nonzero().squeeze(1).cpu()):
                if optimizer is not None:
                    replace_parameter(optimizer, old, new, dim, index)
        self.adapter.drop_empty_sites()
        self.atoms = self.atoms[~closed]
        self.layout = Layout(self.adapter, self._space, layout.layers, closed.device)
        if self.pool is not None:
            self.pool.follow(mask_by_module)
