"""Base class of what a method adds to the training loop: a search, or a baseline with its own schedule."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer


class Controller:
    """Base of what a method adds to plain training. Every method of this base does nothing, so override what is needed.

    Attributes:
        lr_factor: factor on the modules' learning rate, read before each step.
        warms_up: whether it, not :class:`.Plan`, decides when the modules start to learn.
    """

    lr_factor = 1.0
    warms_up = False

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return further optimizer groups (structure variables)."""
        return []

    def before_step(self, accumulation: int | None) -> None:
        """Prepare for the backward passes whose gradients make a step.

        Args:
            accumulation: how many; None where the loop ends the step with :meth:`.Supernet.take_measurements`.
        """

    def loss(self) -> Tensor | None:
        """Return a scalar to add to the task loss of this step; None for nothing."""
        return None

    def after_step(self, step: int, optimizer: Optimizer) -> None:
        """Act after an optimizer step, while its gradients are still there; ``step`` counts the steps done."""
