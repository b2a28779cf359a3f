from __future__ import annotations

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
    kept = find_sites(backbone, include=("*.attention.self.*",), exclude=("*.key",))
    assert {s.role for s in kept} == {"q", "v"}


def test_no_site_left_is_one_sentence(backbone: nn.Module) -> None:
    with pytest.raises(SlatError, match=r"no site of BertModel is left; paths look like encoder\.layer\.0"):
        find_sites(backbone, include=("*.qeury",))


def test_model_without_blocks() -> None:
    with pytest.raises(SlatError, match="no list of repeated blocks"):
        find_blocks(nn.Sequential(nn.Linear(2, 2)))
