"""Connect a supernet to its backbone: the hook that samples gates, and registration as a submodule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import SlatError

if TYPE_CHECKING:
    from .supernet import Supernet

REGISTERED = "slat"  #: name of a supernet among the submodules of its backbone


class Attachment:
    """A supernet on a backbone, until :meth:`remove`. It can be pickled, also as one of the backbone's hooks."""

    def __init__(self, backbone: nn.Module, supernet: Supernet):
        self.backbone, self._supernet = backbone, supernet
        self._hook = backbone.register_forward_pre_hook(self)

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._supernet.sample_gates()

    def register(self) -> None:
        """Make the supernet a submodule of the backbone.

        Then ``parameters``, ``zero_grad``, ``train``, ``eval``, ``to`` and ``state_dict`` of the backbone, and of any
        model that holds it, reach the supernet too.

        Raises:
            SlatError: another supernet is registered already.
        """
        if getattr(self.backbone, REGISTERED, self._supernet) is not self._supernet:
            raise SlatError("structure: another supernet is registered on this model; detach() it first")
        self.backbone.add_module(REGISTERED, self._supernet)

    def remove(self) -> None:
        """Remove the hook, and the supernet from the backbone's submodules."""
        self._hook.remove()
        if getattr(self.backbone, REGISTERED, None) is self._supernet:
            delattr(self.backbone, REGISTERED)
