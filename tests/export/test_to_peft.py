"""Adapters that were trained in a loop of one's own become adapters of peft, on any class around the backbone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from torch import Tensor, nn

from slat_search import SlatError, Structure, attach
from slat_search.export import to_peft
from slat_search.structure import SharedStructure, attach_shared, find_sites
from tests.export.folders import larger, structure_of
from tests.structure.test_families import GROUPED, SMALL
from tests.structure.test_kinds import shake

LENGTHS = (7, 4)


@pytest.fixture
def ids() -> dict[str, Tensor]:
    numbers = torch.randint(3, 50, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[int(place < length) for place in range(max(LENGTHS))] for length in LENGTHS])
    return {"input_ids": numbers * mask, "attention_mask": mask}


def bert() -> nn.Module:
    return hf.BertForSequenceClassification(hf.BertConfig(**SMALL, num_labels=3))


def distilbert() -> nn.Module:
    sizes = {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2, "vocab_size": 50, "num_labels": 3}
    return hf.DistilBertForSequenceClassification(hf.DistilBertConfig(**sizes))


def llama() -> nn.Module:
    return hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED))


def gpt2() -> nn.Module:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**sizes))


AUTO = {
    "SEQ_CLS": peft.AutoPeftModelForSequenceClassification,
    "CAUSAL_LM": peft.AutoPeftModelForCausalLM,
    "FEATURE_EXTRACTION": peft.AutoPeftModelForFeatureExtraction,
}


def on_disk(make: Callable[[], hf.PreTrainedModel], folder: Path) -> hf.PreTrainedModel:
    torch.manual_seed(0)
    model = make()
    larger(model)
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder).eval()


@pytest.mark.parametrize("place", ["whole", "inside", "apart"])
@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (bert, ("lora", "spectral", "bias", "norm")),
        (distilbert, ("lora",)),
        (llama, ("lora", "spectral")),
        (gpt2, ("lora", "norm", "bias")),
    ],
)
def test_what_was_trained_anywhere_loads_in_the_usual_class(
    make: Callable[[], nn.Module], kinds: tuple[str, ...], place: str, ids: dict[str, Tensor], tmp_path: Path
) -> None:
    """Attached to the class itself, to the backbone in it, or to a backbone of its own; the head was trained too."""
    whole = on_disk(make, tmp_path / "model")
    for parameter in whole.parameters():
        parameter.requires_grad_(False)
    head = [child for name, child in whole.named_children() if "classifier" in name]
    for layer in head:
        nn.init.normal_(layer.weight)
        layer.weight.requires_grad_(True)
    inside = whole.base_model if place == "inside" else hf.AutoModel.from_pretrained(tmp_path / "model").eval()
    target = whole if place == "whole" else inside
    adapter = attach(target, structure_of(target, *kinds))
    shake(adapter)
    if place == "apart":  # the class computes with the backbone that was trained
        setattr(whole, whole.base_model_prefix, inside)
    kind = "SEQ_CLS" if head else "CAUSAL_LM"
    with torch.no_grad():
        expected = whole(**ids).logits
    trained = [name for name, parameter in whole.named_parameters() if parameter.requires_grad]
    if place == "apart":
        around = type(whole).from_pretrained(tmp_path / "model").eval()
        around.load_state_dict(whole.state_dict(), strict=False)
        whole = around
    result = to_peft(adapter, whole, out=tmp_path / "out", base_name=str(tmp_path / "model"))
    with torch.no_grad():
        torch.testing.assert_close(result(**ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["task_type"] == kind
    options = {"num_labels": 3} if head else {}
    again = AUTO[kind].from_pretrained(tmp_path / "out", **options).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**ids).logits, expected, atol=1e-5, rtol=1e-5)
        with again.disable_adapter():
            assert (again(**ids).logits - expected).abs().max() > 1e-2
        if place != "apart":  # the caller's model is as it was, and trains on
            torch.testing.assert_close(whole(**ids).logits, expected, atol=0, rtol=0)
            assert [name for name, parameter in whole.named_parameters() if parameter.requires_grad] == trained


def test_a_bare_model_and_its_mode(ids: dict[str, Tensor], tmp_path: Path) -> None:
    on_disk(bert, tmp_path / "model")
    model = hf.AutoModel.from_pretrained(tmp_path / "model").eval()
    adapter = attach(model, structure_of(model, "lora", "bias"))
    shake(adapter)
    expected = model(**ids).last_hidden_state
    result = to_peft(adapter)
    assert type(result) is peft.PeftModelForFeatureExtraction
    assert not result.training
    torch.testing.assert_close(result(**ids).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
    assert to_peft(adapter, out=tmp_path / "out").peft_config["default"].base_model_name_or_path == str(
        tmp_path / "model"
    )
    again = peft.AutoPeftModelForFeatureExtraction.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(again(**ids).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
    adapter.detach()
    torch.testing.assert_close(to_peft(adapter)(**ids).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


def test_a_pool_gives_the_part_of_the_task_that_is_open(ids: dict[str, Tensor], tmp_path: Path) -> None:
    whole = on_disk(llama, tmp_path / "model")
    pool = Structure.lora([site for site in find_sites(whole) if not site.is_norm], r=2)
    users = tuple((unit % 2,) if unit % 3 else (0, 1) for unit in range(sum(m.size for m in pool.modules)))
    shared = attach_shared(whole, SharedStructure(("one", "two"), pool, users))
    shake(shared.adapter)
    shared.scales.mul_(torch.linspace(0.5, 1.5, shared.scales.shape[1]))
    logits = {}
    for task in ("one", "two"):
        shared.switch(task)
        with torch.no_grad():
            logits[task] = whole(**ids).logits
            torch.testing.assert_close(to_peft(shared)(**ids).logits, logits[task], atol=1e-5, rtol=1e-5)
    assert (logits["one"] - logits["two"]).abs().max() > 1e-2
    with pytest.raises(SlatError, match="the adapter has gates; give the pool"):
        to_peft(shared.adapter)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_one_rank_computes_the_same(make: Callable[[], nn.Module], ids: dict[str, Tensor], tmp_path: Path) -> None:
    whole = on_disk(make, tmp_path / "model")
    adapter = attach(whole, structure_of(whole, "lora", "spectral"))
    shake(adapter)
    with torch.no_grad():
        expected = whole(**ids).logits
        result = to_peft(adapter, uniform_rank=True, out=tmp_path / "out")
        torch.testing.assert_close(result(**ids).logits, expected, atol=1e-5, rtol=1e-5)
        again = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out").eval()
        torch.testing.assert_close(again(**ids).logits, expected, atol=1e-5, rtol=1e-5)
    ranks = {len(v) for n, v in load_file(tmp_path / "out" / "adapter_model.safetensors").items() if "lora_A" in n}
    assert ranks == {again.peft_config["default"].r}


def test_weights_in_half_precision(ids: dict[str, Tensor], tmp_path: Path) -> None:
    """Frozen weights in bfloat16 and trained ones in float32: both compute alike, and round at other places."""
    whole = on_disk(llama, tmp_path / "model").to(torch.bfloat16)
    with torch.no_grad():
        plain = whole(**ids).logits
    adapter = attach(whole, structure_of(whole, "lora", "spectral")).float()
    shake(adapter)
    with torch.no_grad():
        expected = whole(**ids).logits
        result = to_peft(adapter)(**ids).logits
    assert result.dtype == torch.bfloat16
    assert (result - expected).abs().max() < 0.05 * (expected - plain).abs().max()
    stored = {p.dtype for n, p in to_peft(adapter).named_parameters() if "lora_" in n}
    assert stored == {torch.float32}


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    whole = on_disk(bert, tmp_path / "model")
    adapter = attach(whole, structure_of(whole, "lora"))
    with pytest.raises(SlatError, match="is not an empty folder"):
        to_peft(adapter, out=tmp_path / "model")
    with pytest.raises(SlatError, match="task_type is one of FEATURE_EXTRACTION, SEQ_CLS, CAUSAL_LM, not 'LM'"):
        to_peft(adapter, task_type="LM")
    with pytest.raises(SlatError, match="BertForSequenceClassification is no class of task type CAUSAL_LM"):
        to_peft(adapter, task_type="CAUSAL_LM")
    with pytest.raises(SlatError, match=r"has no bert.* of the adapter's size"):
        to_peft(adapter, llama())
    with pytest.raises(SlatError, match=r"servers of LoRA read no module that was trained whole, .* has classifier"):
        to_peft(adapter, uniform_rank=True)
    with pytest.raises(SlatError, match=r"BertModel has no bert\..* of the adapter's size"):
        to_peft(adapter, whole.base_model)
    with pytest.raises(SlatError, match="BertForSequenceClassification has no module 'nope'"):
        to_peft(adapter, modules_to_save=["nope"])
    with pytest.raises(SlatError, match="BertForSequenceClassification has a head around it; choose SEQ_CLS"):
        to_peft(adapter, task_type="FEATURE_EXTRACTION", out=tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(SlatError, match=r"to_peft: out: cannot write .*file/out: Not a directory"):
        to_peft(adapter, out=tmp_path / "file" / "out")
    adapter.detach()
    for kinds, why in (
        (("lora", "serial"), "peft cannot hold this adapter's serial"),
        ((), "no module on a projection"),
    ):
        refused = attach(whole, structure_of(whole, *kinds))
        with pytest.raises(SlatError, match=why):
            to_peft(refused)
        refused.detach()


def test_one_module_to_save_may_be_named_alone(tmp_path: Path) -> None:
    whole = on_disk(llama, tmp_path / "model")
    adapter = attach(whole, structure_of(whole, "lora"))
    result = to_peft(adapter, modules_to_save="lm_head", out=tmp_path / "out")
    assert result.peft_config["default"].modules_to_save == ["lm_head"]
    assert any("lm_head" in name for name in load_file(tmp_path / "out" / "adapter_model.safetensors"))
