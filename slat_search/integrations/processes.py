"""Distributed training: the gradients of candidates, which may be removed, are averaged here and not by DDP."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from accelerate.state import GradientState
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def is_distributed() -> bool:
    """Whether there are several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def mean_of_processes(value: Tensor) -> Tensor:
    """Average a tensor over all processes in place, to the same bits in each, and return it."""
    dist.all_reduce(value)
    return value.div_(dist.get_world_size())


@torch.no_grad()
def broadcast_from_first(tensors: Iterable[Tensor]) -> None:
    """Set tensors in all processes to their values in the first one."""
    for tensor in tensors:
        dist.broadcast(tensor, src=0)


class GradientMean:
    """Averages gradients over processes in the backward pass that ends a step, before they are clipped.

    DDP needs the parameters that it was made with, and candidates are removed while it runs. Averaging a mean again
    does not change it, so a parameter may receive its gradient in several portions.
    """

    def __init__(self) -> None:
        self._handles: dict[nn.Parameter, RemovableHandle] = {}

    def watch(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of exactly these parameters from now on, if they are trained."""
        if not is_distributed():
            return
        old_handles, self._handles = self._handles, {}
        for parameter in (parameter for parameter in parameters if parameter.requires_grad):
            old_handle = old_handles.pop(parameter, None)
            self._handles[parameter] = old_handle or parameter.register_post_accumulate_grad_hook(_average_gradient)
        for handle in old_handles.values():
            handle.remove()

    def remove(self) -> None:
        """Stop averaging gradients."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()


def _average_gradient(parameter: Tensor) -> None:
    if GradientState().sync_gradients and parameter.grad is not None:
        mean_of_processes(parameter.grad)
