"""The structure that a static search trains: sampled as a whole, without gates, as in AutoPEFT."""

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
    """Return the sizes that each kind may take: 0, powers of two, and the largest of the search space."""
    choices_by_name = {}
    for kind, candidate in config.space.kinds.items():
        powers = [2**i for i in range(10) if 2**i < candidate.size]
        choices_by_name[f"{kind}{_SIZE}"] = [0, *powers, candidate.size] if candidate.size else [0]
    return {name: choices for name, choices in choices_by_name.items() if len(choices) > 1}


def layer_bit(layer: int) -> str:
    """Return the name of the choice whether a block holds modules."""
    return f"layer_{layer}"


def sampled_structure(config: Config, sites: Collection[Site], sampled: Mapping[str, Any]) -> Structure:
    """Return modules of one size per kind, the same in every block that is on (Zhou et al. 2024, arXiv 2301.12132)."""
    modules = [
        ModuleSpec.whole(site, kind, sampled[name])
        for name, kind in ((f"{kind}{_SIZE}", str(kind)) for kind in config.space.kinds)
        for site in sites
        if sampled.get(name) and sampled[layer_bit(site.layer)] and KINDS[kind].fits(site)
    ]
    return Structure(tuple(modules), ModuleOptions(config.space.activation, config.space.scale))


class SampledNet(nn.Module):
    """A fixed structure, with the part of a supernet's interface that a trial uses.

    Args:
        backbone: a frozen model.
        structure: its modules; without any the head trains alone.
    """

    costs = torch.empty(0)

    def __init__(self, backbone: nn.Module, structure: Structure):
        super().__init__()
        self.adapter: Adapter = attach(backbone, structure)

    def switch(self, task: int) -> None:
        """Do nothing, as there is one task."""

    def structure(self) -> Structure:
        return self.adapter.structure

    def discretize(self) -> Adapter:
        return self.adapter

    def detach(self) -> None:
        """Remove the hooks from the backbone."""
        self.adapter.detach()
