"""A found structure as a configuration of peft."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers as hf
from torch import nn

from slat_search import SlatError
from slat_search.export import lora_config
from slat_search.models.backbone import Backbone
from slat_search.models.registry import model_path
from slat_search.structure import Structure, attach
from tests.conftest import TEXTS
from tests.export.folders import structure_of
from tests.structure.test_kinds import shake


def test_a_structure_as_a_configuration_of_peft_trains_the_same_modules(minilm: Backbone) -> None:
    """On a model with another head, whose paths begin with another name; equal weights compute the same."""
    bare = hf.AutoModel.from_pretrained(model_path("minilm")).eval()
    structure = structure_of(bare, "lora", "norm")
    headed = hf.AutoModelForSequenceClassification.from_pretrained(model_path("minilm"), num_labels=3).eval()
    model = peft.get_peft_model(headed, lora_config(structure, task_type="SEQ_CLS", lora_dropout=0.1)).eval()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and "classifier" not in name}
    assert sum(p.numel() for p in trained.values()) == structure.params
    adapter = attach(bare, Structure(tuple(m for m in structure.modules if m.kind == "lora"), structure.options))
    shake(adapter)
    batch = minilm.tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    with torch.no_grad():
        for site in adapter.site_adapters():
            (lora,) = site.parts.values()
            theirs = model.base_model.model.bert.get_submodule(site.site.name)
            theirs.lora_A.default.weight.copy_(lora.down)
            theirs.lora_B.default.weight.copy_(lora.up)
        expected = bare(**batch).last_hidden_state
        result = model.base_model.model.bert(**batch).last_hidden_state
        adapter.detach()
        plain = bare(**batch).last_hidden_state
    assert (expected - plain).abs().max() > 1e-2
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kinds", "why"), [(("lora", "bias"), "peft cannot train bias at"), (("norm",), "no LoRA")])
def test_a_structure_that_peft_cannot_train_is_refused(backbone: nn.Module, kinds: tuple[str, ...], why: str) -> None:
    with pytest.raises(SlatError, match=why):
        lora_config(structure_of(backbone, *kinds))
