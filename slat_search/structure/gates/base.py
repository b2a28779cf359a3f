"""The gates of one task over the atoms of a supernet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..layout import Layout
    from ..options import SearchOptions
    from .task_gates import TaskGates


_CLOSED_ALPHA = -100.0  # about the logarithm of the smallest saliency


class Gates(nn.Module, ABC):
    """Structure variables ``alpha`` (atoms,) of one task, and the gates that follow from them.

    Attributes:
        soft: whether gates take values between 0 and 1.
        accumulation: backward passes per step; None where :meth:`.Supernet.take_measurements` ends a step.
    """

    soft: ClassVar[bool]
    alpha: Tensor
    accumulation: int | None = 1

    @classmethod
    @abstractmethod
    def build(cls, layout: Layout, options: SearchOptions) -> Self:
        """Build the gates of the atoms of ``layout``."""

    @classmethod
    @abstractmethod
    def over_tasks(cls, rows: Sequence[Self], options: SearchOptions, fixed: Tensor | None) -> TaskGates[Any]:
        """Combine the gates of all tasks, see :class:`.TaskGates`."""

    @property
    def variables(self) -> list[nn.Parameter]:
        """The structure variables that an optimizer trains."""
        return []

    @abstractmethod
    def sample(self) -> Tensor:
        """Return the gates of one training step, (atoms,) in [0, 1]."""

    @abstractmethod
    def values(self) -> Tensor:
        """Return deterministic gates, (atoms,), as evaluation and discretization see them."""

    @torch.no_grad()
    def close(self, atoms: Tensor) -> None:
        """Close ``atoms``, (atoms,) of bool, permanently."""
        self.alpha.masked_fill_(atoms, _CLOSED_ALPHA)

    @abstractmethod
    def keep(self, atoms: Tensor) -> list[tuple[nn.Parameter, nn.Parameter]]:
        """Keep only ``atoms`` (indices). Returns old and new variables, for the optimizer's state."""
