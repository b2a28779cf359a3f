"""The hand-made modules of a site: LoRA, bottlenecks, rescaling, norm and bias.

Every kind consists of *units*: rank-1 components (LoRA), hidden units (bottleneck) or one whole vector
(bias, norm, IA3). A gate multiplies a unit's contribution. All modules start as the identity, so a
freshly attached adapter leaves the backbone's output bit for bit as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .options import ModuleOptions
from .site_module import (
    ACTIVATIONS,
    Linear,
    SiteModule,
    add_product,
)
from .sites import Site

if TYPE_CHECKING:
    from .module_spec import ModuleSpec


def _down_init(units: int, d_in: int) -> Tensor:
    """LoRA's and ``nn.Linear``'s default: uniform with bound ``1 / sqrt(d_in)``."""
    return torch.empty(units, d_in).uniform_(-1 / math.sqrt(d_in), 1 / math.sqrt(d_in))


class Projection(SiteModule):
    r"""LoRA and parallel bottleneck in one: a LoRA is a bottleneck without nonlinearity.

    .. math:: y' = y + s\,U\,(z \odot [A x;\; f(D x + b)])

    Both kinds read ``x`` through one down-projection and write through one up-projection.
    Sources: LoRA, Hu et al. 2021 (arXiv 2106.09685); parallel adapter, He et al. 2021 (arXiv 2110.04366).
    """

    unit_dims: ClassVar[dict[str, int]] = {"down": 0, "up": 1, "hidden_bias": 0}
    foldable: ClassVar[tuple[str, ...]] = ("up",)

    def __init__(self, site: Site, sizes: Mapping[str, int], options: ModuleOptions):
        super().__init__()
        self.rank = sizes.get("lora", 0)
        width = sizes.get("parallel", 0)
        self.scale = options.scale
        self.activation = ACTIVATIONS[options.activation]
        self.down = nn.Parameter(_down_init(self.rank + width, site.d_in))
        self.up = nn.Parameter(torch.zeros(site.d_out, self.rank + width))
        if width:
            self.hidden_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        hidden = F.linear(x, self.down)
        if self.rank < hidden.shape[-1]:
            linear, nonlinear = hidden.split([self.rank, hidden.shape[-1] - self.rank], dim=-1)
            hidden = torch.cat([linear, self.activation(nonlinear + self.hidden_bias)], dim=-1)
        up = self.up * self.scale if gate is None else self.up * (self.scale * gate)
        return add_product(y, hidden, up)

    def units_left(self, modules: Mapping[str, ModuleSpec]) -> None:
        self.rank = modules["lora"].size if "lora" in modules else 0

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        if self.rank < self.up.shape[1]:
            return None
        return self.down, self.scale * self.up

    def merge(self, layer: Linear) -> tuple[Linear, int]:
        update = self.up[:, : self.rank] @ self.down[: self.rank]
        return Linear(layer.weight + self.scale * update, layer.bias), self.rank


class Serial(SiteModule):
    r"""Serial bottleneck on a sublayer's output, :math:`y' = y + U (z \odot f(D y + b))`.

    With gate :math:`\sigma(\alpha)` this is the convex form of arXiv 2509.03057,
    :math:`\sigma A(y) + (1 - \sigma) y` with :math:`A(y) = y + U f(D y + b)`.
    Source: Houlsby et al. 2019 (arXiv 1902.00751); their up-bias is the site's ``bias`` module.
    """

    unit_dims: ClassVar[dict[str, int]] = {"down": 0, "up": 1, "hidden_bias": 0}
    foldable: ClassVar[tuple[str, ...]] = ("up",)

    def __init__(self, site: Site, sizes: Mapping[str, int], options: ModuleOptions):
        super().__init__()
        units = sizes["serial"]
        self.activation = ACTIVATIONS[options.activation]
        self.down = nn.Parameter(_down_init(units, site.d_out))
        self.up = nn.Parameter(torch.zeros(site.d_out, units))
        self.hidden_bias = nn.Parameter(torch.zeros(units))

    def forward(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        hidden = self.activation(F.linear(y, self.down, self.hidden_bias))
        return add_product(y, hidden, self.up if gate is None else self.up * gate)


class Rescale(SiteModule):
    r"""IA3, :math:`y' = y \odot (1 + z\,l)`. Source: Liu et al. 2022 (arXiv 2205.05638)."""

    unit_dims: ClassVar[dict[str, int]] = {"rescale": 0}
    foldable: ClassVar[tuple[str, ...]] = ("rescale",)

    def __init__(self, site: Site, sizes: Mapping[str, int], options: ModuleOptions):
        super().__init__()
        self.rescale = nn.Parameter(torch.zeros(1, site.d_out))

    def forward(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        rescale = self.rescale[0] if gate is None else self.rescale[0] * gate
        return y + y * rescale

    def merge(self, layer: Linear) -> tuple[Linear, int]:
        factor = 1 + self.rescale[0]
        return Linear(layer.weight * factor.unsqueeze(-1), layer.bias * factor), 1


class Norm(SiteModule):
    r"""Shift and scale after a normalization layer, :math:`y' = y \odot (1 + z\,g) + z\,b`.

    Equals training the layer's own weight and bias: :math:`\gamma' = \gamma (1 + g)`,
    :math:`\beta' = \beta (1 + g) + b`. Source: the LayerNorm module of S3Delta, Hu et al. 2022.
    """

    unit_dims: ClassVar[dict[str, int]] = {"rescale": 0, "shift": 0}
    foldable: ClassVar[tuple[str, ...]] = ("rescale", "shift")

    def __init__(self, site: Site, sizes: Mapping[str, int], options: ModuleOptions):
        super().__init__()
        self.rescale = nn.Parameter(torch.zeros(1, site.d_out))
        self.shift = nn.Parameter(torch.zeros(1, site.d_out))

    def forward(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        rescale, shift = self.rescale[0], self.shift[0]
        if gate is not None:
            rescale, shift = rescale * gate, shift * gate
        return torch.addcmul(shift, y, 1 + rescale)

    def merge(self, layer: Linear) -> tuple[Linear, int]:
        factor = 1 + self.rescale[0]
        return Linear(layer.weight * factor, layer.bias * factor + self.shift[0]), 1


class Bias(SiteModule):
    r"""Bias shift, :math:`y' = y + z\,b`. Source: BitFit, Ben Zaken et al. 2021 (arXiv 2106.10199)."""

    unit_dims: ClassVar[dict[str, int]] = {"shift": 0}
    foldable: ClassVar[tuple[str, ...]] = ("shift",)

    def __init__(self, site: Site, sizes: Mapping[str, int], options: ModuleOptions):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, site.d_out))

    def forward(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        return y + (self.shift[0] if gate is None else self.shift[0] * gate)

    def merge(self, layer: Linear) -> tuple[Linear, int]:
        return Linear(layer.weight, layer.bias + self.shift[0]), 1
