"""A method applied to a backbone, of any kind."""

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

#: of a method, by name
Options = Mapping[str, Any]
ALPHA = 16  # of LoRA, and of methods that are scaled as it is

#: name under which the scale of each unit for each task is kept, (tasks, units)
SCALES = "scales"


@dataclass
class Applied:
    """A method that stands on a backbone.

    Attributes:
        module: holds the parameters to train; None trains the head alone.
        structure: what stands where, if the method is a fixed structure.
        undo: takes it off the backbone.
        controller: steps of a training -> what the method does beside plain training.
        count: trained parameters left, if the method drops some.
        description: bytes that say what stands where, if that follows from no rule and no seed.
        shared: holds the modules, where tasks share them and do not all use the same.
    """

    module: nn.Module | None = None
    structure: Structure | SharedStructure | None = None
    undo: Callable[[], object] = field(default=lambda: None)
    controller: Callable[[int], Controller] | None = None
    count: Callable[[], int] | None = None
    description: int = 0
    shared: SharedAdapter | None = None

    def switch(self, task: int) -> None:
        """Open the part of the task of this number, where tasks do not all use the same modules."""
        if self.shared is not None:
            self.shared.switch(self.shared.structure.tasks[task])

    def trained(self) -> dict[str, nn.Parameter]:
        """Names and parameters that this method trains."""
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
        """Bytes to store beside the frozen model and the head: values in float32, and ``description``.

        What is frozen of a method is not counted. It follows from the frozen weights (singular directions) or from a
        seed (random projections, frequencies, masks), as every method is put on anew when its values are loaded; files
        may hold copies. Nor is the probe of an adapter, which only checks and may be left out.
        """
        return VALUE * self.params + self.description

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put saved values back.

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
        trained = self.trained()
        check_weights(trained, state)
        for name, value in state.items():
            trained[name].copy_(value)


def attached(backbone: nn.Module, structure: Structure) -> Applied:
    """Put a structure of one task on a backbone."""
    adapter = attach(backbone, structure)
    return Applied(adapter, structure, adapter.detach)


def check_weights(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Check that saved values have the names, shapes and kinds of number of a module's own, and are finite.

    Raises:
        SlatError: they have not.
    """
    if other := sorted(set(own) ^ set(saved)):
        raise SlatError(f"adapter weights do not fit: {', '.join(other[:3])}{' ...' if len(other) > 3 else ''}")
    for name, value in saved.items():
        if value.shape != own[name].shape:
            there, here = tuple(value.shape), tuple(own[name].shape)
            raise SlatError(f"adapter weights do not fit: {name} has shape {there}, and {here} in this model")
        if value.is_floating_point() != own[name].is_floating_point():
            kinds = [str(tensor.dtype).removeprefix("torch.") for tensor in (value, own[name])]
            raise SlatError(f"adapter weights do not fit: {name} is of {kinds[0]}, and {kinds[1]} in this model")
        if not torch.isfinite(value).all():
            raise SlatError(f"adapter weights: {name} holds NaN or infinity")


def load_module(module: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Put saved values into a module.

    Raises:
        SlatError: names or shapes are not those of the module, or the model's singular directions have changed.
    """
    own = module.state_dict()
    check_weights({name: own[name] for name in own if name in saved or not name.endswith(".probe")}, saved)
    module.load_state_dict(saved)
