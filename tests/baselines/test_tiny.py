"""Methods of very few parameters: between singular directions, and through the peft library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from slat_search import SlatError
from slat_search.baselines import apply_method
from slat_search.baselines.spectral import banded
from slat_search.config import Config
from slat_search.config.baselines import METHOD_DEFAULTS, SETS
from slat_search.structure import Site, Structure

from .test_methods import OPTIONS, Inputs, run

PARAMS = {
    "cores": 36 * 2 * 2,
    "lora_xs": 36 * 4 * 4,
    "svft": 36 * 384,
    "svft_banded": 36 * (5 * 384 - 2 * (1 + 2)),
    "entries": 4000,
    "tinylora": 36 * 4,
    "unilora": 256,
    "fourierft": 12 * 100,
    "vera": 12 * (384 + 256),
}
LAYER = "encoder.layer.2.intermediate.dense"


def weight_after(backbone: PreTrainedModel) -> Tensor:
    """The weight of one layer as its input sees it with what stands there."""
    layer = backbone.get_submodule(LAYER)
    with torch.no_grad():
        return (layer(torch.eye(384)) - layer(torch.zeros(1, 384))).T


@pytest.mark.parametrize("name", PARAMS)
def test_its_parameters_and_bytes_are_counted_and_learn(backbone: PreTrainedModel, batch: Inputs, name: str) -> None:
    bare = run(backbone, batch)
    applied = apply_method(name, backbone, OPTIONS[name])
    assert applied.params == PARAMS[name]
    assert applied.bytes == 4 * PARAMS[name]  # what is frozen of it follows from a rule, the weights or a seed
    target = bare + 0.1 * torch.randn(bare.shape[-1], generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(applied.trained().values(), lr=METHOD_DEFAULTS[name].learning_rates[0])
    losses = []
    for _ in range(4):
        loss = (run(backbone, batch) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    applied.undo()
    assert losses[-1] < losses[0]
    assert torch.equal(run(backbone, batch), bare)


def test_lora_xs_equals_the_published_formula(backbone: PreTrainedModel) -> None:
    """W + 16 / r U_r S_r R V_r^T."""
    weight = backbone.get_submodule(LAYER).weight.detach()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    applied = apply_method("lora_xs", backbone, {"size": 3, "roles": ["mlp_in"]})
    (part,) = [site.parts["Spectral"] for site in applied.module.site_adapters() if site.site.name == LAYER]
    core = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        signs = (part.left * left[:, :3]).sum(dim=0).sign()  # of a singular pair the sign is free
        part.core.copy_((signs[:, None] * core * signs).flatten())
        result = weight_after(backbone)
    applied.undo()
    expected = weight + 16 / 3 * left[:, :3] @ values[:3].diag() @ core @ right[:3]
    torch.testing.assert_close(result, expected, atol=2e-4, rtol=1e-4)


def test_plain_svft_shifts_singular_values(backbone: PreTrainedModel) -> None:
    values = torch.linalg.svdvals(backbone.get_submodule(LAYER).weight.detach())
    applied = apply_method("svft", backbone, {"roles": ["mlp_in"]})
    (part,) = [site.parts["Spectral"] for site in applied.module.site_adapters() if site.site.name == LAYER]
    shift = torch.linspace(1, 0, len(values))  # falling, so that their order stays
    with torch.no_grad():
        part.core.copy_(shift)
        result = torch.linalg.svdvals(weight_after(backbone))
    applied.undo()
    torch.testing.assert_close(result, values + shift, atol=1e-3, rtol=1e-3)


def test_a_band_has_what_lies_near_the_diagonal() -> None:
    site = Site(0, "layer.0.q", "q", 3, 5)
    (plain,), (band,), (whole,) = (banded([site], width).modules for width in (0, 1, 9))
    assert plain.entries == ((0, 0), (1, 1), (2, 2))
    assert band.entries == ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2))
    assert whole == Structure.cores([site], 3).modules[0]


def drawn(backbone: PreTrainedModel, **options: Any) -> Structure:
    applied = apply_method("entries", backbone, {"size": 32, "seed": 0, **options})
    applied.undo()
    assert isinstance(applied.structure, Structure)
    return applied.structure


def test_random_entries_differ_by_seed_and_stand_among_leading_directions(backbone: PreTrainedModel) -> None:
    first, again, other = (drawn(backbone, budget=144, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert {first.params, other.params} == {144}
    assert max(max(entry) for module in first.modules for entry in module.entries) < 32


def test_random_entries_take_more_directions_where_there_are_too_few(backbone: PreTrainedModel) -> None:
    result = drawn(backbone, size=1, budget=100)
    assert result.params == 100
    assert max(max(entry) for module in result.modules for entry in module.entries) == 1
    narrow = drawn(backbone, budget=50, sites={"include": ["*.layer.5.*query"], "exclude": []})
    assert {module.site.name for module in narrow.modules} == {"encoder.layer.5.attention.self.query"}


@pytest.mark.parametrize("name", ["cores", "lora_xs", "svft", "tinylora"])
def test_a_role_that_the_model_lacks(backbone: PreTrainedModel, name: str) -> None:
    with pytest.raises(SlatError, match=r"baselines\.roles: no projection of this model has a role in gate"):
        apply_method(name, backbone, {"size": 2, "roles": ["gate"]})


def test_the_set_of_tiny_methods_has_a_name_a_size_and_a_file_for_each() -> None:
    baselines = Config.model_validate({"baselines": "tiny"}).baselines
    assert len(baselines) == len(SETS["tiny"])
    titles = [b.sized(144).title for b in baselines]
    assert titles[:3] == ["even cores r=1", "even cores r=2", "LoRA-XS r=4"]
    assert {"SVFT", "SVFT banded d=2", "random entries 144", "TinyLoRA u=4", "LoRA r=1"} < {*titles}
    assert len({b.label for b in baselines}) == len(titles)
