"""The structure that a static search trains: sampled whole, without gates, as AutoPEFT does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from ..config import Config
from ..structure import (
    KINDS,
    Adapter,
    ModuleOptions,
    ModuleSpec,
    Site,
    Structure,
    attach,
)

_SIZE = "_size"


def sizes(config: Config) -> dict[str, list[int]]:
    """Sizes that each kind may take: none, powers of two, and the largest of the search space."""
    sizes_by_module = {}
    for kind, candidate in config.space.kinds.items():
        powers = [2**i for i in range(10) if 2**i < candidate.size]
        sizes_by_module[f"{kind}{_SIZE}"] = [0, *powers, candidate.size] if candidate.size else [0]
    return {name: choices for name, choices in sizes_by_module.items() if len(choices) > 1}


def layer_bit(layer: int) -> str:
    """Name of the choice whether a block holds modules."""
    return f"layer_{layer}"


def sampled_structure(config: Config, sites: Collection[Site], sampled: Mapping[str, Any]) -> Structure:
    """One size a kind, the same in every block that is on (Zhou et al. 2024, arXiv 2301.12132)."""
    modules = [
        ModuleSpec.whole(site, kind, sampled[name])
        for name, kind in ((f"{kind}{_SIZE}", str(kind)) for kind in config.space.kinds)
        for site in sites
        if sampled.get(name) and sampled[layer_bit(site.layer)] and KINDS[kind].fits(site)
    ]
    return Structure(tuple(modules), ModuleOptions(config.space.activation, config.space.scale))


class SampledNet(nn.Module):
    """A fixed structure with the interface of a supernet that a trial uses.

    Args:
        backbone: a frozen model.
        structure: what stands on it; no modules are the bare head.
    """

    costs = torch.empty(0)

    def __init__(self, backbone: nn.Module, structure: Structure):
        super().__init__()
        self.adapter: Adapter = attach(backbone, structure)

    def switch(self, task: int) -> None:
        """There is one task."""

    def structure(self) -> Structure:
        return self.adapter.structure

    def discretize(self) -> Adapter:
        return self.adapter

    def detach(self) -> None:
        """Take everything off the backbone again."""
        self.adapter.detach()
