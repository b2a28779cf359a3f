"""The base of the modules at a site, and what all modules of one structure share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .options import ModuleOptions
from .sites import Site

if TYPE_CHECKING:
    from .module_spec import ModuleSpec

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


@dataclass(frozen=True)
class Linear:
    """A layer ``y = weight x + bias``, or ``y = weight * x + bias`` for a normalization, ``x`` being normalized.

    Attributes:
        weight: (d_out, d_in), or (d_out,) for a normalization.
        bias: (d_out,); zeros where the layer has none.
    """

    weight: Tensor
    bias: Tensor


def add_product(y: Tensor, hidden: Tensor, up: Tensor) -> Tensor:
    """Return ``y + hidden up^T`` in one pass over ``y``, which costs more than the thin product itself.

    Args:
        y: (..., d_out).
        hidden: (..., r).
        up: (d_out, r).
    """
    if torch.is_autocast_enabled(y.device.type):  # addmm would give a sum in half precision
        return y + F.linear(hidden, up)
    rows = torch.addmm(y.reshape(-1, y.shape[-1]), hidden.reshape(-1, hidden.shape[-1]), up.T)
    return rows.view(y.shape)


class SiteModule(nn.Module):
    """Base of the modules at a site: ``forward(x, y, gate) -> y'``.

    ``x`` is the input of the site's own layer, ``y`` its output so far, both ``(..., width)``; ``gate`` is
    ``None`` (every unit open) or a tensor ``(units,)``.
    """

    #: parameter name -> the dimension that runs over the units
    unit_dims: ClassVar[dict[str, int]] = {}
    #: parameters that a gate can be multiplied into without changing the function
    foldable: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def build(cls, site: Site, modules: Mapping[str, ModuleSpec], options: ModuleOptions, layer: nn.Module) -> Self:
        """Build the untrained module of a site.

        Args:
            modules: kind -> specification, for the kinds at the site that share this class.
            layer: the site's own layer in the backbone.
        """
        return cls(site, {kind: module.size for kind, module in modules.items()}, options)

    def units_left(self, modules: Mapping[str, ModuleSpec]) -> None:
        """Adjust to a removal of units; parameters are shortened already. ``modules``: kind -> remaining module."""

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """Return factors ``A`` (r, d_in) and ``B`` (d_out, r) of ``y + B A x``; None for modules of another form."""
        return None

    @torch.no_grad()
    def fold(self, gate: Tensor) -> None:
        """Multiply ``gate`` (units,) into the weights: afterwards ``gate=None`` gives the same output."""
        for name in self.foldable:
            parameter = getattr(self, name)
            shape = [1] * parameter.ndim
            shape[self.unit_dims[name]] = -1
            parameter.mul_(gate.view(shape))

    def merge(self, layer: Linear) -> tuple[Linear, int]:
        """Merge as many leading units as possible into the site's layer; return it and their number."""
        return layer, 0
