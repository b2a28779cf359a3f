"""A backbone that another library writes into, brought back as it was."""

from __future__ import annotations

from torch import nn


class BackboneSnapshot:
    """Remembers modules, parameters and values of a backbone, and brings them back.

    Args:
        copies: leave copies of all values in the backbone meanwhile. Otherwise values that are written over in place
            stay so, and only those that are exchanged come back.
    """

    def __init__(self, backbone: nn.Module, copies: bool):
        self._places = [(m, m._modules.copy(), m._parameters.copy(), m._buffers.copy()) for m in backbone.modules()]
        self._values = [(p, p.data, p.requires_grad) for p in backbone.parameters()]
        if copies:
            for parameter, value, _ in self._values:
                parameter.data = value.clone()

    def restore(self) -> None:
        """Restore everything."""
        for module, modules, parameters, buffers in self._places:
            module._modules, module._parameters, module._buffers = modules, parameters, buffers
        for parameter, value, trained in self._values:
            parameter.data, parameter.grad = value, None
            parameter.requires_grad_(trained)
