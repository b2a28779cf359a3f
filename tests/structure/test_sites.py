from __future__ import annotations

import warnings
from collections import Counter

import pytest
from torch import nn

from slat_search import SlatError
from slat_search.structure import Site, find_blocks, find_sites


def test_every_projection_and_norm_of_all_blocks(sites: tuple[Site, ...]) -> None:
    per_layer = Counter((s.layer, s.role) for s in sites)
    roles = {"q": 1, "k": 1, "v": 1, "attn_out": 1, "mlp_in": 1, "mlp_out": 1, "norm": 2}
    assert per_layer == {(layer, role): n for layer in range(6) for role, n in roles.items()}


def test_widths_are_those_of_the_layers(backbone: nn.Module, sites: tuple[Site, ...]) -> None:
    layers = dict(backbone.named_modules())
    for site in sites:
        if not site.is_norm:
            assert (site.d_out, site.d_in) == tuple(layers[site.name].weight.shape)


def test_include_and_exclude(backbone: nn.Module) -> None:
    sites = find_sites(backbone, include=("*.attention.self.*",), exclude=("*.key",))
    assert {s.role for s in sites} == {"q", "v"}


def test_no_site_left_is_one_sentence(backbone: nn.Module) -> None:
    with pytest.raises(SlatError, match=r"no site of BertModel is left; paths look like encoder\.layer\.0"):
        find_sites(backbone, include=("*.qeury",))


class Unknown(nn.Module):
    """Blocks whose layers have names of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.stack = nn.ModuleList(
            nn.ModuleDict({"mix": nn.Linear(8, 8), "scale": nn.LayerNorm(8), "widen": nn.Linear(8, 16)})
            for _ in range(3)
        )


def test_unknown_architecture_falls_back_to_all_linear_layers_of_the_blocks_and_says_so() -> None:
    with pytest.warns(UserWarning, match="Unknown is of no known family: all 6 linear layers of its blocks are sites"):
        result = find_sites(Unknown())
    assert Counter(s.role for s in result) == {"linear": 6, "norm": 3}
    assert {s.name for s in result if s.layer == 0} == {"stack.0.mix", "stack.0.scale", "stack.0.widen"}


def test_known_architecture_does_not_warn(backbone: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_sites(backbone)


def test_model_without_blocks() -> None:
    with pytest.raises(SlatError, match="no list of repeated blocks"):
        find_blocks(nn.Sequential(nn.Linear(2, 2)))
