"""Methods that train numbers between singular directions of the frozen weights, at fixed or random positions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..structure import (
    Adapter,
    ModuleOptions,
    ModuleSpec,
    Site,
    Structure,
    find_sites,
)
from ..structure.singular import weight_of
from ..structure.spectral import Spectral
from .applied import ALPHA, Applied, Options, attached
from .places import projections


def cores(backbone: nn.Module, options: Options) -> Applied:
    """A whole core of ``size * size`` numbers at every projection, of scale 2: LoRA-XS without its singular values."""
    return attached(backbone, Structure.cores(_target_sites(backbone, options), options["size"]))


def lora_xs(backbone: nn.Module, options: Options) -> Applied:
    r"""LoRA-XS of rank ``size``, :math:`y' = y + \frac{16}{r} U \Sigma R V^\top x` (arXiv 2405.17604).

    ``R`` starts at zero, so that the method starts as the identity; the paper draws it with a deviation of 1e-5.
    """
    size = options["size"]
    applied = attached(backbone, Structure.cores(_target_sites(backbone, options), size, scale=ALPHA / size))
    assert isinstance(applied.module, Adapter)
    _weight_by_singular_values(backbone, applied.module)
    return applied


def svft(backbone: nn.Module, options: Options) -> Applied:
    """Plain SVFT: a shift of every singular value (Lingam et al. 2024, arXiv 2405.19597)."""
    return attached(backbone, banded(_target_sites(backbone, options), 0))


def svft_banded(backbone: nn.Module, options: Options) -> Applied:
    """Banded SVFT: the diagonal and ``size`` more diagonals on each side of it."""
    return attached(backbone, banded(_target_sites(backbone, options), options["size"]))


def entries(backbone: nn.Module, options: Options) -> Applied:
    """``budget`` entries drawn at random from those between the ``size`` leading directions of all projections.

    The draw depends on ``seed``. Where there are fewer such entries than the budget, more directions are used.
    """
    sites = projections(find_sites(backbone, **options.get("sites", {})), ("all",))
    size = options["size"]
    max_size = max(min(s.d_in, s.d_out) for s in sites)
    while sum(min(size, s.d_in, s.d_out) ** 2 for s in sites) < options["budget"] and size < max_size:
        size += 1
    return attached(backbone, Structure.at(sites, "spectral", size).random_part(options["budget"], options["seed"]))


def banded(sites: Iterable[Site], band: int) -> Structure:
    """Return entries ``(i, j)``, ``|i - j| <= band``, between all singular directions of each projection; scale 1."""
    modules = []
    for site in sites:
        count = min(site.d_in, site.d_out)
        positions = tuple((i, j) for i in range(count) for j in range(max(0, i - band), min(count, i + band + 1)))
        modules.append(ModuleSpec(site, "spectral", len(positions), positions))
    return Structure(tuple(modules), ModuleOptions(scale=1.0))


def _target_sites(backbone: nn.Module, options: Options) -> list[Site]:
    return projections(find_sites(backbone), options["roles"])


@torch.no_grad()
def _weight_by_singular_values(backbone: nn.Module, adapter: Adapter) -> None:
    """Scale the left directions of each core by their singular values."""
    for site_adapter in adapter.site_adapters():
        part = site_adapter.parts["Spectral"]
        assert isinstance(part, Spectral)
        weight = weight_of(backbone.get_submodule(site_adapter.site.name)).float()
        part.left.mul_((part.left * (weight @ part.right.T)).sum(dim=0))
