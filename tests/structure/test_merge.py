from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import transformers as hf
from torch import Tensor, nn
from transformers import PreTrainedModel

from slat_search.structure import (
    KINDS,
    Structure,
    attach,
    find_sites,
)
from tests.structure.test_families import GROUPED, SMALL
from tests.structure.test_kinds import shake

MERGEABLE = ("lora", "ia3", "norm", "bias")


def everything(model: nn.Module, kinds: tuple[str, ...]) -> Structure:
    whole = Structure()
    for kind in kinds:
        whole |= Structure.at(find_sites(model), kind, 3 if KINDS[kind].sized else 1)
    return whole


def merged(model: nn.Module, kinds: tuple[str, ...], **inputs: Tensor) -> tuple[Tensor, Tensor, Structure]:
    """Output before and after merging, and what was left."""
    adapter = attach(model, everything(model, kinds))
    shake(adapter)
    before = model(**inputs).last_hidden_state
    left = adapter.merge()
    return before, model(**inputs).last_hidden_state, left


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) for m in model.modules())


@pytest.mark.parametrize("kinds", [*((kind,) for kind in MERGEABLE), MERGEABLE])
def test_merging_changes_next_to_nothing_and_leaves_no_module(
    backbone: PreTrainedModel, batch: dict[str, Tensor], kinds: tuple[str, ...]
) -> None:
    model = deepcopy(backbone)
    before, after, left = merged(model, kinds, **batch)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
    assert left == Structure(options=left.options)
    assert hooks(model) == 0
    assert model.state_dict().keys() == backbone.state_dict().keys()


@pytest.mark.parametrize("kinds", [("lora", "parallel", "bias"), tuple(KINDS)])
def test_bottlenecks_stay_and_what_comes_after_them(
    backbone: PreTrainedModel, batch: dict[str, Tensor], kinds: tuple[str, ...]
) -> None:
    model = deepcopy(backbone)
    before, after, left = merged(model, kinds, **batch)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)
    stay = {m.kind for m in left.modules}
    assert "lora" not in stay
    assert "parallel" in stay
    assert not [m for m in left.modules if m.site.is_norm]


def test_gpt2_keeps_its_transposed_weights() -> None:
    torch.manual_seed(0)
    config = hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=50, bos_token_id=1, eos_token_id=2)
    model = hf.GPT2Model(config).requires_grad_(False).eval()
    before, after, left = merged(model, MERGEABLE, input_ids=torch.arange(3, 9).view(1, -1))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert left.params == 0


def test_llama_gets_biases_and_keeps_what_rmsnorm_cannot_hold() -> None:
    torch.manual_seed(0)
    model = hf.LlamaModel(hf.LlamaConfig(**GROUPED)).requires_grad_(False).eval()
    before, after, left = merged(model, MERGEABLE, input_ids=torch.arange(3, 9).view(1, -1))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert {m.site.role for m in left.modules} == {"norm"}
    assert model.layers[0].mlp.down_proj.bias is not None


def test_shared_weights_are_not_written_into() -> None:
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig(**SMALL), add_pooling_layer=False).requires_grad_(False).eval()
    shared = {name: p.detach() for name, p in model.named_parameters()}
    before = {name: p.clone() for name, p in shared.items()}
    merged(model, MERGEABLE, input_ids=torch.arange(3, 9).view(1, -1))
    assert all(torch.equal(shared[name], before[name]) for name in shared)
