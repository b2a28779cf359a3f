from __future__ import annotations

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from slat_search import SlatError
from slat_search.baselines import METHODS, apply_method
from slat_search.structure import Site, Structure, attach, find_sites

Inputs = dict[str, Tensor]
OPTIONS = {"lora": {"size": 4, "roles": ["q", "v"]}, "houlsby": {"size": 6}, "bitfit": {}, "head": {}}
BASELINES = sorted(set(METHODS) - {"slat"})


def run(backbone: nn.Module, batch: Inputs) -> Tensor:
    return backbone(**batch).last_hidden_state


def shake(parameters: dict[str, nn.Parameter]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in parameters.values():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize("name", BASELINES)
def test_starts_as_the_backbone_trains_only_its_own_and_leaves(
    backbone: PreTrainedModel, batch: Inputs, name: str
) -> None:
    bare = run(backbone, batch)
    applied = apply_method(name, backbone, OPTIONS[name])
    torch.testing.assert_close(run(backbone, batch), bare, atol=1e-6, rtol=1e-6)
    trained = applied.trained()
    assert applied.params == sum(p.numel() for p in trained.values())
    shake(trained)
    assert torch.allclose(run(backbone, batch), bare, atol=1e-3) == (name == "head")
    applied.undo()
    assert torch.equal(run(backbone, batch), bare)
    assert not any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("name", [n for n in BASELINES if n != "head"])
def test_saved_weights_give_the_same_output(backbone: PreTrainedModel, batch: Inputs, name: str) -> None:
    applied = apply_method(name, backbone, OPTIONS[name])
    shake(applied.trained())
    output = run(backbone, batch)
    state = {n: p.detach().clone() for n, p in applied.trained().items()}
    applied.undo()
    again = apply_method(name, backbone, OPTIONS[name])
    again.load(state)
    loaded = run(backbone, batch)
    with pytest.raises(SlatError, match="adapter weights do not fit"):
        again.load({})
    again.undo()
    assert torch.equal(output, loaded)


def test_our_lora_equals_pefts_with_the_same_weights(
    backbone: PreTrainedModel, batch: Inputs, sites: tuple[Site, ...]
) -> None:
    theirs = apply_method("lora", backbone, OPTIONS["lora"])
    shake(theirs.trained())
    expected = run(backbone, batch)
    weights = {n: p.detach().clone() for n, p in theirs.trained().items()}
    theirs.undo()
    ours = attach(backbone, Structure.lora(sites, r=4))
    with torch.no_grad():
        for site in ours.site_adapters():
            part = site.parts["Projection"]
            part.down.copy_(weights[f"base_model.model.{site.site.name}.lora_A.default.weight"])
            part.up.copy_(weights[f"base_model.model.{site.site.name}.lora_B.default.weight"])
    output = run(backbone, batch)
    ours.detach()
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    assert sum(w.numel() for w in weights.values()) == ours.structure.params


def test_lora_is_pefts_own_count(backbone: PreTrainedModel) -> None:
    applied = apply_method("lora", backbone, OPTIONS["lora"])
    assert isinstance(applied.module, peft.PeftModel)
    assert applied.params == 6 * 2 * 4 * (384 + 384)
    applied.undo()


def test_houlsby_equals_the_published_formula(backbone: PreTrainedModel) -> None:
    """After each sublayer's own projection, before the residual sum: h + W_up f(W_down h + b) + b_up."""
    applied = apply_method("houlsby", backbone, OPTIONS["houlsby"])
    shake(applied.trained())
    w = {n.split("/")[-2] + "/" + n.split("/")[-1]: p for n, p in applied.trained().items() if "layer/2/" in n}
    layer = backbone.get_submodule("encoder.layer.2.output.dense")
    x = torch.randn(2, 3, 1536)
    with torch.no_grad():
        output = layer(x)
        h = F.linear(x, layer.weight, layer.bias)
        s = {n.rsplit(".", 1)[-1]: p for n, p in w.items() if n.startswith("output/dense.parts.Serial")}
        shift = next(p for n, p in w.items() if n.startswith("output/dense.parts.Bias"))
        expected = h + F.linear(F.gelu(F.linear(h, s["down"], s["hidden_bias"])), s["up"]) + shift[0]
    applied.undo()
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_bitfit_equals_training_the_models_own_biases(backbone: PreTrainedModel, batch: Inputs) -> None:
    applied = apply_method("bitfit", backbone, {})
    shake(applied.trained())
    shifts = {site.site.name: site.parts["Bias"].shift.detach()[0].clone() for site in applied.module.site_adapters()}
    output = run(backbone, batch)
    applied.undo()
    own = {name: backbone.get_submodule(name).bias for name in shifts}
    before = {name: bias.detach().clone() for name, bias in own.items()}
    with torch.no_grad():
        for name, bias in own.items():
            bias.add_(shifts[name])
        expected = run(backbone, batch)
        for name, bias in own.items():
            bias.copy_(before[name])
    block_biases = [n for n, p in backbone.named_parameters() if n.startswith("encoder.layer") and n.endswith("bias")]
    assert len(own) == len(block_biases)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)


def test_role_that_the_model_lacks(backbone: PreTrainedModel) -> None:
    with pytest.raises(SlatError, match=r"baselines.roles: no projection of this model has a role in gate"):
        apply_method("lora", backbone, {"size": 4, "roles": ["gate"]})


def test_found_structure_comes_back_from_its_dictionary(backbone: PreTrainedModel) -> None:
    structure = Structure.at(find_sites(backbone), "serial", 2) | Structure.bitfit(find_sites(backbone)[:3])
    applied = apply_method("slat", backbone, {"structure": structure.to_dict()})
    assert applied.structure == structure
    assert applied.params == structure.params
    applied.undo()
