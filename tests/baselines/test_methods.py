from __future__ import annotations

from typing import Any, get_args

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from slat_search import SlatError
from slat_search.baselines import METHODS, apply_method
from slat_search.comparison.contenders import method_options
from slat_search.config import Config
from slat_search.config.baselines import MethodName
from slat_search.structure import (
    Site,
    Structure,
    attach,
    find_sites,
)
from slat_search.training.context import Context
from slat_search.training.jobs import TrainingJob, train_job

Inputs = dict[str, Tensor]
CONFIG = Config.model_validate({"baselines": "all"})
OPTIONS: dict[str, dict[str, Any]] = {
    b.method: {**method_options(b.sized(4000), CONFIG), "seed": 3} for b in CONFIG.baselines
}
OPTIONS |= {"lora": {"size": 4, "roles": ["q", "v"]}, "houlsby": {"size": 6}}
BASELINES = sorted(set(METHODS) - {"slat", "peft"})  # for the latter see test_tuners.py


def run(backbone: nn.Module, batch: Inputs) -> Tensor:
    return backbone(**batch).last_hidden_state


def shake(parameters: dict[str, nn.Parameter], by: float = 0.05) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in parameters.values():
            p.add_(by * torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize("name", BASELINES)
def test_starts_as_the_backbone_trains_only_its_own_and_leaves(
    backbone: PreTrainedModel, batch: Inputs, name: str
) -> None:
    bare = run(backbone, batch)
    applied = apply_method(name, backbone, OPTIONS[name])
    if name != "prefix":  # whose vectors are drawn, and are attended to
        near = 1e-4 if name == "unilora" else 1e-6  # whose numbers start at small random values
        torch.testing.assert_close(run(backbone, batch), bare, atol=near, rtol=near)
    trained = applied.trained()
    assert applied.params == sum(p.numel() for p in trained.values())
    shake(trained, by=1.0 if name == "unilora" else 0.05)
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
    assert applied.bytes == 4 * structure.params + 4 * len(structure.modules)  # what stands where is no rule's
    applied.undo()


def test_every_method_of_the_configuration_is_there() -> None:
    assert set(BASELINES) == set(get_args(MethodName)) - {"peft"} == {b.method for b in CONFIG.baselines}


def test_prefix_is_what_pefts_own_model_computes(backbone: PreTrainedModel, batch: Inputs) -> None:
    torch.manual_seed(5)
    applied = apply_method("prefix", backbone, {"size": 3})
    output = run(backbone, batch)
    applied.undo()
    torch.manual_seed(5)
    config = peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="FEATURE_EXTRACTION")
    before = set(vars(backbone))
    theirs = peft.get_peft_model(backbone, config)
    expected = theirs(**batch).last_hidden_state
    for name in set(vars(backbone)) - before:
        delattr(backbone, name)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)
    assert applied.params == 6 * 2 * 3 * 384


def test_adalora_ends_at_its_mean_rank(context: Context) -> None:
    unit = TrainingJob("adalora", "adalora", 3e-3, seed=0, options=OPTIONS["adalora"])
    result, state = train_job(context, unit)
    values = [value for name, value in state.items() if "lora_E" in name]
    assert sum(value.size for value in values) == 12 * 6
    left = sum(np.count_nonzero(value) for value in values)
    assert left == 12 * 4
    assert result.params == left * (384 + 384 + 1)
    assert result.bytes == 4 * result.params + 2 * 12  # and how many ranks each site has


def test_fields_of_peft_reach_it(backbone: PreTrainedModel) -> None:
    applied = apply_method("lora", backbone, {"size": 4, "roles": ["q"], "peft": {"use_rslora": True, "lora_alpha": 8}})
    config = applied.module.peft_config["default"]
    applied.undo()
    assert (config.use_rslora, config.lora_alpha, config.r) == (True, 8, 4)
    with pytest.raises(SlatError, match="LoraConfig of peft has no field 'use_rslra'; did you mean use_rslora"):
        apply_method("lora", backbone, {"size": 4, "roles": ["q"], "peft": {"use_rslra": True}})
    with pytest.raises(SlatError, match="baselines: peft says: "):
        apply_method("lora", backbone, {"size": 4, "roles": ["q"], "peft": {"target_modules": ["nowhere"]}})


def test_all_projections(backbone: PreTrainedModel) -> None:
    applied = apply_method("lora", backbone, {"size": 2, "roles": ["all"]})
    assert applied.params == 6 * 2 * (4 * (384 + 384) + 2 * (384 + 1536))
    applied.undo()


def test_random_structures_differ_by_seed_and_have_the_size(backbone: PreTrainedModel) -> None:
    collected = []
    for seed in (0, 0, 1):
        applied = apply_method("random", backbone, {**OPTIONS["random"], "seed": seed})
        collected.append(applied.structure)
        applied.undo()
    assert collected[0] == collected[1] != collected[2]
    assert all(3600 < structure.params <= 4000 for structure in collected)


def test_a_mixture_keeps_every_gate_soft(backbone: PreTrainedModel, batch: Inputs) -> None:
    applied = apply_method("unipelt", backbone, {"size": 2})
    shake(applied.trained())
    soft = run(backbone, batch)
    with torch.no_grad():
        applied.module.gates.alpha.fill_(-3.0)
    applied.module.eval()
    assert not torch.allclose(run(backbone, batch), soft, atol=1e-3)
    closed = run(backbone, batch)
    applied.undo()
    assert not torch.allclose(run(backbone, batch), closed, atol=1e-4)


def test_full_fine_tuning_leaves_the_frozen_weights(context: Context) -> None:
    before = {name: value.clone() for name, value in context.backbone().model.state_dict().items()}
    result, _ = train_job(context, TrainingJob("full", "full", 1e-3, seed=0))
    after = context.backbone().model.state_dict()
    assert result.params == context.backbone_params
    assert all(torch.equal(before[name], after[name]) for name in before)
