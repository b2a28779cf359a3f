"""A method that stands on a backbone, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SlatError
from ..structure import VALUE, SharedStructure, Structure


@dataclass
class Applied:
    """A method that stands on a backbone.

    Attributes:
        module: holds the parameters to train; None trains the head alone.
        structure: what stands where, if the method is a fixed structure.
        undo: takes it off the backbone.
        controller: steps of a training -> what the method does beside plain training, a ``Controller`` of the loop.
        count: trained parameters that are left, where the method drops some of them.
        description: bytes that say what stands where, if that follows from no rule and no seed.
        switch: number of a task -> its part of the method is open, where tasks share it and do not use the same of it.
    """

    module: nn.Module | None = None
    structure: Structure | SharedStructure | None = None
    undo: Callable[[], object] = field(default=lambda: None)
    controller: Callable[[int], Any] | None = None
    count: Callable[[], int] | None = None
    description: int = 0
    switch: Callable[[int], None] = field(default=lambda task: None)

    def trained(self) -> dict[str, nn.Parameter]:
        """Names and parameters that this method trains."""
        if self.module is None:
            return {}
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    @property
    def params(self) -> int:
        return self.count() if self.count is not None else sum(p.numel() for p in self.trained().values())

    @property
    def bytes(self) -> int:
        """Bytes to store beside the frozen model and the head: values in float32, and ``description``.

        What is frozen of a method is not counted. It follows from the frozen weights (singular directions) or from a
        seed (random projections, frequencies, masks), as every method is put on anew when its values are loaded; the
        file that a library writes for it may hold copies.
        """
        return VALUE * self.params + self.description

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put saved values back; names and shapes must be those of :meth:`trained`."""
        trained = self.trained()
        if set(trained) != set(state):
            raise SlatError(f"adapter weights do not fit: {sorted(set(trained) ^ set(state))[:3]} ...")
        for name, value in state.items():
            trained[name].copy_(value)
