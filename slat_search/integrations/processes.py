"""Processes that train together: the gradients of candidates, which may leave, are averaged here and not by DDP."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from accelerate.state import GradientState
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def together() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def mean_of_processes(value: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes, the same bits in each; in place."""
    dist.all_reduce(value)
    return value.div_(dist.get_world_size())


@torch.no_grad()
def same_in_all(tensors: Iterable[Tensor]) -> None:
    """Give all processes the values of the first one."""
    for tensor in tensors:
        dist.broadcast(tensor, src=0)


class GradientMean:
    """Averages gradients over processes in the backward pass that ends a step, before they are clipped.

    DDP keeps to the parameters that it was made with, and candidates leave while it runs. A mean of what is averaged
    already changes nothing, so a parameter may get its gradient in several portions.
    """

    def __init__(self) -> None:
        self._handles: dict[nn.Parameter, RemovableHandle] = {}

    def watch(self, parameters: Iterable[nn.Parameter]) -> None:
        """From now on average the gradients of exactly these parameters, if trained."""
        if not together():
            return
        known, self._handles = self._handles, {}
        for parameter in (parameter for parameter in parameters if parameter.requires_grad):
            hook = known.pop(parameter, None)
            self._handles[parameter] = hook or parameter.register_post_accumulate_grad_hook(_average)
        for handle in known.values():
            handle.remove()

    def remove(self) -> None:
        """Average no gradients any more."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()


def _average(parameter: Tensor) -> None:
    if GradientState().sync_gradients and parameter.grad is not None:
        mean_of_processes(parameter.grad)
