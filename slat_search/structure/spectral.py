"""Single trained numbers between singular directions of the frozen weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SlatError
from .options import ModuleOptions
from .singular import Basis, singular_basis
from .site_module import Linear, SiteModule, add_product
from .sites import Site

if TYPE_CHECKING:
    from .module_spec import ModuleSpec

Entry = tuple[int, int]
_PROBE_TOLERANCE = 1e-3  # of a projection on a vector of length 1; rounding moves directions by far less


class Spectral(SiteModule):
    r"""Some entries of a core between singular directions of the site's own weight :math:`W = U \Sigma V^\top`.

    .. math:: y' = y + s\,U\,(z \odot R)\,V^\top x

    Every entry :math:`R_{ij}` is a unit of one parameter: it lets the output move along the ``i``-th left direction by
    as much of the ``j``-th right direction as the input has. At :math:`R = 0` its gradient is exactly
    :math:`s\,u_i^\top G v_j` with :math:`G = \partial L / \partial W`, so an entry can be judged before it trains.
    Only the directions that some entry uses are computed with.

    Bases follow from the frozen weight alone (:func:`.singular_basis`), so nothing but the entries has to be stored. A
    state dict also holds a ``probe``, one number a direction, which is checked when it is loaded: entries mean nothing
    between other directions.
    Sources: cores between singular vectors, LoRA-XS (arXiv 2405.17604); sparse ones, SVFT (arXiv 2405.19597).

    Args:
        basis: of the site's weight, with at least as many directions as the entries need.
        entries: (i, j) of each unit, all different.
        scale: factor ``s``.
    """

    unit_dims: ClassVar[dict[str, int]] = {"core": 0}
    foldable: ClassVar[tuple[str, ...]] = ("core",)

    left: Tensor
    right: Tensor
    places: Tensor
    probe: Tensor

    @classmethod
    def build(cls, site: Site, modules: Mapping[str, ModuleSpec], options: ModuleOptions, layer: nn.Module) -> Self:
        (module,) = modules.values()
        return cls(singular_basis(layer, directions(module.entries)), module.entries, options.scale)

    def __init__(self, basis: Basis, entries: Sequence[Entry], scale: float):
        super().__init__()
        self._basis = basis
        self.scale = scale
        self.core = nn.Parameter(torch.zeros(len(entries), device=basis.left.device))
        self._select(entries)

    def _select(self, entries: Sequence[Entry]) -> None:
        """Select the directions that the entries use from the basis."""
        basis, device = self._basis, self.core.device
        index = torch.tensor(entries, dtype=torch.long).view(-1, 2)
        rows, row_of = index[:, 0].unique(return_inverse=True)
        columns, column_of = index[:, 1].unique(return_inverse=True)
        positions = row_of * len(columns) + column_of
        self.shape = len(rows), len(columns)
        is_ordered = bool((positions == torch.arange(len(positions))).all())
        self.is_whole = len(positions) == len(rows) * len(columns) and is_ordered
        self.register_buffer("left", basis.left[:, rows.to(basis.left.device)].to(device), persistent=False)
        self.register_buffer("right", basis.right[columns.to(basis.left.device)].to(device), persistent=False)
        self.register_buffer("places", positions.to(device), persistent=False)
        self.register_buffer("probe", torch.cat([_fingerprints(self.left.T), _fingerprints(self.right)]))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Check the probe instead of loading it; a state without one is loaded unchecked.

        Raises:
            SlatError: the entries were trained between other directions.
        """
        stored_probe = state_dict.get(f"{prefix}probe")
        if stored_probe is not None:
            own_probe = self.probe.cpu()
            if stored_probe.shape != own_probe.shape or not torch.allclose(
                stored_probe.cpu().float(), own_probe, atol=_PROBE_TOLERANCE, rtol=0
            ):
                raise SlatError(
                    f"{prefix.removesuffix('.')}: the model's weights have other singular directions here than those "
                    "that the entries were trained between; it is another model, or its weights have changed"
                )
        super()._load_from_state_dict({**state_dict, f"{prefix}probe": self.probe}, prefix, *args)

    def units_left(self, modules: Mapping[str, ModuleSpec]) -> None:
        (module,) = modules.values()
        self._select(module.entries)

    def matrix(self, gate: Tensor | None = None) -> Tensor:
        """Return the core over the directions in use, (rows, columns); 0 where it has no entry."""
        core = self.core if gate is None else self.core * gate
        if self.is_whole:
            return core.view(self.shape)
        return core.new_zeros(self.shape[0] * self.shape[1]).index_copy(0, self.places, core).view(self.shape)

    def low_rank(self) -> tuple[Tensor, Tensor]:
        """Return the factors with the smaller of the two possible ranks."""
        core = self.scale * self.matrix()
        if self.shape[0] < self.shape[1]:
            return core @ self.right, self.left
        return self.right, self.left @ core

    def forward(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        core = self.scale * self.matrix(gate)
        return add_product(y, F.linear(F.linear(x, self.right), core), self.left)

    def merge(self, layer: Linear) -> tuple[Linear, int]:
        down, up = self.low_rank()
        return Linear(layer.weight + up @ down, layer.bias), len(self.core)


def _fingerprints(directions: Tensor) -> Tensor:
    """Return a number that identifies each of the directions (count, width), (count,)."""
    probe_vector = torch.arange(1, directions.shape[1] + 1, dtype=torch.float64).square().cos()
    return (directions.cpu().double() @ (probe_vector / probe_vector.norm())).float().to(directions.device)


def directions(entries: Sequence[Entry]) -> int:
    """Return the number of leading directions that some entries need."""
    return 1 + max((max(entry) for entry in entries), default=-1)


def leading_entries() -> Iterator[Entry]:
    """Yield entries in the order of growing square cores: the first ``r * r`` are the core of ``r`` directions."""
    r = 0
    while True:
        yield from ((i, r) for i in range(r))
        yield from ((r, j) for j in range(r + 1))
        r += 1
