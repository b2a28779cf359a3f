"""Any method of the peft library, and what it leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from slat_search import SlatError
from slat_search.baselines import apply_method
from slat_search.baselines.through_peft import tuners

from .test_methods import Inputs, run, shake

#: needs more of a configuration than where it goes, or another kind of model than an encoder
_DO_NOT_FIT = {"adalora", "adaption_prompt", "c3a", "poly", "shadow", "trainable_tokens", "vblora"}
_LORA = [
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "pissa_niter_4"},
    {"init_lora_weights": "olora"},
    {"bias": "all"},
    {"bias": "lora_only"},
    {"lora_bias": True},
    {"modules_to_save": ["encoder.layer.0.attention.output.LayerNorm"]},
]


def values(backbone: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in backbone.state_dict().items()}


def same(backbone: PreTrainedModel, before: dict[str, Tensor]) -> bool:
    after = backbone.state_dict()
    return list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


def comes_back(backbone: PreTrainedModel, batch: Inputs, method: str, options: dict[str, Any]) -> None:
    """Trained weights that are put on again later give the same output; the backbone is as it was after each time."""
    before = values(backbone)
    bare = run(backbone, batch)
    applied = apply_method(method, backbone, options)
    assert 0 < applied.params < sum(p.numel() for p in backbone.parameters())
    shake(applied.trained())
    output = run(backbone, batch)
    assert not torch.allclose(output, bare, atol=1e-3)
    state = {n: p.detach().clone() for n, p in applied.trained().items()}
    applied.undo()
    assert same(backbone, before)
    assert torch.equal(run(backbone, batch), bare)
    assert not any(p.requires_grad for p in backbone.parameters())
    torch.manual_seed(99)  # whatever a later process has drawn before
    again = apply_method(method, backbone, options)
    again.load(state)
    loaded = run(backbone, batch)
    again.undo()
    assert same(backbone, before)
    torch.testing.assert_close(loaded, output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(tuners()) - _DO_NOT_FIT))
def test_a_method_of_peft(backbone: PreTrainedModel, batch: Inputs, name: str) -> None:
    comes_back(backbone, batch, "peft", {"tuner": name, "roles": ["q", "v"], "seed": 1})


@pytest.mark.parametrize("fields", _LORA, ids=str)
def test_a_lora_that_changes_the_backbone(backbone: PreTrainedModel, batch: Inputs, fields: dict[str, Any]) -> None:
    """Starts that take a part out of the frozen weight, and parameters of the backbone's own that are trained."""
    comes_back(backbone, batch, "lora", {"size": 4, "roles": ["q"], "seed": 1, "peft": fields})


@pytest.mark.parametrize("name", sorted(_DO_NOT_FIT & set(tuners())))
def test_a_method_that_does_not_fit_says_so_and_leaves(backbone: PreTrainedModel, batch: Inputs, name: str) -> None:
    before, bare = values(backbone), run(backbone, batch)
    with pytest.raises(SlatError, match=r"baselines: peft says: |baselines\.tuner: "):
        apply_method("peft", backbone, {"tuner": name, "roles": ["q", "v"], "seed": 1})
    assert same(backbone, before)
    assert torch.equal(run(backbone, batch), bare)


def test_a_name_that_peft_does_not_have(backbone: PreTrainedModel) -> None:
    with pytest.raises(SlatError, match="peft has no 'tinylra' that goes on projections; did you mean tinylora"):
        apply_method("peft", backbone, {"tuner": "tinylra", "roles": ["q"]})
