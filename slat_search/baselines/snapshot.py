"""Restore a backbone that another library modifies."""

from __future__ import annotations

from torch import nn


class BackboneSnapshot:
    """Modules, parameters and values of a backbone, to be restored.

    Args:
        copies: whether the backbone gets copies of all values meanwhile. Otherwise values that are overwritten in place
            stay so, and only replaced ones are restored.
    """

    def __init__(self, backbone: nn.Module, copies: bool):
        self._registries = [(m, m._modules.copy(), m._parameters.copy(), m._buffers.copy()) for m in backbone.modules()]
        self._values = [(p, p.data, p.requires_grad) for p in backbone.parameters()]
        if copies:
            for parameter, value, _ in self._values:
                parameter.data = value.clone()

    def restore(self) -> None:
        """Restore everything."""
        for module, modules, parameters, buffers in self._registries:
            module._modules, module._parameters, module._buffers = modules, parameters, buffers
        for parameter, value, requires_grad in self._values:
            parameter.data, parameter.grad = value, None
            parameter.requires_grad_(requires_grad)
