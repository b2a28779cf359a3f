"""Modules against the formulas of the papers that they come from."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from slat_search.structure import (
    ModuleOptions,
    ModuleSpec,
    Site,
    Structure,
    attach,
)
from slat_search.structure.adapter import SiteAdapter

SITE = Site(0, "block.0.out", "mlp_out", 6, 4)
OPTIONS = ModuleOptions(activation="relu", scale=0.5)


def site_with(**sizes: int) -> SiteAdapter:
    torch.manual_seed(0)
    modules = {kind: ModuleSpec.whole(SITE, kind, size) for kind, size in sizes.items()}
    adapter = SiteAdapter(SITE, modules, OPTIONS, nn.Linear(SITE.d_in, SITE.d_out))
    for p in adapter.parameters():
        nn.init.normal_(p)
    return adapter


@pytest.fixture
def xy() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 6, generator=generator), torch.randn(2, 3, 4, generator=generator)


def test_lora(xy: tuple[Tensor, Tensor]) -> None:
    x, y = xy
    site = site_with(lora=2)
    p = site.parts["Projection"]
    torch.testing.assert_close(site(x, y), y + 0.5 * x @ p.down.T @ p.up.T)


def test_lora_and_parallel_share_their_projections(xy: tuple[Tensor, Tensor]) -> None:
    x, y = xy
    site = site_with(lora=2, parallel=3)
    p = site.parts["Projection"]
    linear = x @ p.down[:2].T @ p.up[:, :2].T
    bent = F.relu(x @ p.down[2:].T + p.hidden_bias) @ p.up[:, 2:].T
    torch.testing.assert_close(site(x, y), y + 0.5 * (linear + bent))


def test_serial_is_the_convex_form_of_the_paper(xy: tuple[Tensor, Tensor]) -> None:
    x, y = xy
    site = site_with(serial=3)
    p = site.parts["Serial"]
    gate = torch.tensor(0.7)
    site.gates["Serial"] = gate.expand(3)
    adapted = y + F.relu(y @ p.down.T + p.hidden_bias) @ p.up.T
    torch.testing.assert_close(site(x, y), gate * adapted + (1 - gate) * y)


def test_houlsby_adds_the_up_bias_after_the_bottleneck(xy: tuple[Tensor, Tensor]) -> None:
    x, y = xy
    site = site_with(serial=3, bias=1)
    s, b = site.parts["Serial"], site.parts["Bias"]
    torch.testing.assert_close(site(x, y), y + F.relu(y @ s.down.T + s.hidden_bias) @ s.up.T + b.shift[0])


def test_norm_equals_training_the_layers_own_weight_and_bias(backbone: PreTrainedModel, batch: dict) -> None:
    site = Site(0, "encoder.layer.0.attention.output.LayerNorm", "norm", 384, 384)
    adapter = attach(backbone, Structure.at([site], "norm", 1))
    part = adapter.site_adapters()[0].parts["Norm"]
    torch.manual_seed(0)
    for p in (part.rescale, part.shift):
        nn.init.normal_(p, std=0.1)
    layer = backbone.get_submodule(site.name)
    x = torch.randn(2, 3, 384)
    with torch.no_grad():
        expected = F.layer_norm(
            x,
            (384,),
            layer.weight * (1 + part.rescale[0]),
            layer.bias * (1 + part.rescale[0]) + part.shift[0],
            layer.eps,
        )
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    adapter.detach()
