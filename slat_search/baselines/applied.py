"""A method of any kind applied to a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..controller import Controller
from ..errors import SlatError
from ..structure import (
    VALUE,
    Adapter,
    SharedAdapter,
    SharedStructure,
    Structure,
    attach,
)

#: options of a method, by name
Options = Mapping[str, Any]
ALPHA = 16  # of LoRA, and of methods with the same scaling

#: name under which the scales of units for tasks are saved, (tasks, units)
SCALES = "scales"


@dataclass
class Applied:
    """A method on a backbone.

    Attributes:
        module: holds the parameters to train; None trains the head alone.
        structure: the structure, if the method is a fixed one.
        undo: removes the method from the backbone.
        controller: steps of a training -> what the method adds to plain training.
        count: returns the number of remaining trained parameters, if the method removes some.
        description: bytes that describe the structure, if it follows from no rule and no seed.
        shared: holds the modules of a pool, of which tasks use different parts.
    """

    module: nn.Module | None = None
    structure: Structure | SharedStructure | None = None
    undo: Callable[[], object] = field(default=lambda: None)
    controller: Callable[[int], Controller] | None = None
    count: Callable[[], int] | None = None
    description: int = 0
    shared: SharedAdapter | None = None

    def switch(self, task: int) -> None:
        """Open the units of a task by its number, where tasks use different ones."""
        if self.shared is not None:
            self.shared.switch(self.shared.structure.tasks[task])

    def trained(self) -> dict[str, nn.Parameter]:
        """Return name -> parameter of all parameters that this method trains."""
        if self.module is None:
            return {}
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def saved(self) -> dict[str, Tensor]:
        """Return saved values by name: trained parameters, and buffers that verify a structure."""
        if isinstance(self.module, Adapter):
            scales = {} if self.shared is None else {SCALES: self.shared.scales}
            return {**self.module.state_dict(), **scales}
        return {name: parameter.detach() for name, parameter in self.trained().items()}

    @property
    def params(self) -> int:
        return self.count() if self.count is not None else sum(p.numel() for p in self.trained().values())

    @property
    def bytes(self) -> int:
        """Return the bytes to store beside the frozen model and the head: values in float32, and ``description``.

        Frozen values of a method are not counted. They follow from the frozen weights (singular directions) or from a
        seed (random projections, frequencies, masks), as every method is applied anew when its values are loaded; files
        may hold copies. Nor is the probe of an adapter, which is only a check and may be left out.
        """
        return VALUE * self.params + self.description

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load saved values.

        Raises:
            SlatError: names or shapes are not those of :meth:`saved`, or the model's singular directions have changed.
        """
        if isinstance(self.module, Adapter):
            load_module(self.module, {name: value for name, value in state.items() if name != SCALES})
            if self.shared is not None and SCALES in state:  # files of earlier versions hold none
                check_weights({SCALES: self.shared.scales}, {SCALES: state[SCALES]})
                self.shared.scales.copy_(state[SCALES])
                self.shared.switch(self.shared.task)
            return
        parameters = self.trained()
        check_weights(parameters, state)
        for name, value in state.items():
            parameters[name].copy_(value)


def attached(backbone: nn.Module, structure: Structure) -> Applied:
    """Put a structure of one task on a backbone."""
    adapter = attach(backbone, structure)
    return Applied(adapter, structure, adapter.detach)


def check_weights(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Check that saved values have the names, shapes and kinds of numbers of a module's own, and are finite.

    Raises:
        SlatError: names, shapes or kinds of numbers differ, or a value is not finite.
    """
    if mismatches := sorted(set(own) ^ set(saved)):
        raise SlatError(
            f"adapter weights do not fit: {', '.join(mismatches[:3])}{' ...' if len(mismatches) > 3 else ''}"
        )
    for name, value in saved.items():
        if value.shape != own[name].shape:
            saved_shape, own_shape = tuple(value.shape), tuple(own[name].shape)
            raise SlatError(
                f"adapter weights do not fit: {name} has shape {saved_shape}, and {own_shape} in this model"
            )
        if value.is_floating_point() != own[name].is_floating_point():
            dtypes = [str(tensor.dtype).removeprefix("torch.") for tensor in (value, own[name])]
            raise SlatError(f"adapter weights do not fit: {name} is of {dtypes[0]}, and {dtypes[1]} in this model")
        if not torch.isfinite(value).all():
            raise SlatError(f"adapter weights: {name} holds NaN or infinity")


def load_module(module: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Load saved values into a module.

    Raises:
        SlatError: names or shapes are not those of the module, or the model's singular directions have changed.
    """
    state = module.state_dict()
    check_weights({name: state[name] for name in state if name in saved or not name.endswith(".probe")}, saved)
    module.load_state_dict(saved)
