"""Exports of other families of models, and what their layers cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.numpy import load_file
from torch import nn

from slat_search import SlatError, load
from slat_search.export import export
from slat_search.models.backbone import Backbone, load_backbone
from slat_search.structure import Structure, find_sites
from slat_search.training.context import Context
from tests.conftest import TEXTS
from tests.export.folders import code_of, code_with_a_head, description_of, rewrite, saved, structure_of
from tests.models.test_backbone import TRANSLATOR
from tests.structure.test_families import GROUPED, SMALL


def llama() -> nn.Module:
    return hf.LlamaModel(hf.LlamaConfig(**{**GROUPED, "vocab_size": 30522}))


def gpt2() -> nn.Module:
    return hf.GPT2Model(hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=30522, bos_token_id=1, eos_token_id=2))


def roberta() -> nn.Module:
    return hf.RobertaModel(hf.RobertaConfig(**{**SMALL, "vocab_size": 30522, "max_position_embeddings": 64}))


def bart() -> nn.Module:
    return hf.BartModel(hf.BartConfig(**TRANSLATOR, vocab_size=30522))


def t5() -> nn.Module:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return hf.T5Model(hf.T5Config(**sizes, vocab_size=30522, decoder_start_token_id=0))


FITTING = [
    *((make, form, ("lora",)) for make in (llama, gpt2, roberta, bart, t5) for form in ("merged", "peft")),
    (gpt2, "merged", ("lora", "bias", "norm")),
    (roberta, "merged", ("lora", "bias", "norm")),
    (roberta, "peft", ("lora", "bias", "norm")),
    (llama, "peft", ("lora", "bias")),
    *((make, form, ("spectral", "lora")) for make in (llama, gpt2) for form in ("merged", "peft")),
]


@pytest.mark.parametrize(("make", "form", "kinds"), FITTING)
def test_other_families(
    context: Context,
    minilm: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], nn.Module],
    form: str,
    kinds: tuple[str, ...],
) -> None:
    torch.manual_seed(0)
    whole = make()
    whole.save_pretrained(tmp_path / "model")
    minilm.tokenizer.save_pretrained(tmp_path / "model")
    model = load_backbone(str(tmp_path / "model")).model
    folder = saved(context, model, tmp_path / "adapter", *kinds, name=str(tmp_path / "model"))
    export(folder, tmp_path / "out", form)  # compares by itself what it wrote
    expected = load(folder)(TEXTS)
    monkeypatch.chdir(tmp_path / "out")
    printed: list[tuple[Any, ...]] = []
    exec(code_of(tmp_path / "out"), {"print": lambda *values: printed.append(values)})
    np.testing.assert_allclose(np.stack([row.numpy() for _, row in printed]), expected, atol=1e-4)
    if form == "peft" or not whole.config.is_encoder_decoder:
        names: dict[str, Any] = {}
        exec(code_with_a_head(tmp_path / "out"), names)
        headed = names["model"].eval()
        inside = headed.base_model.get_encoder() if whole.config.is_encoder_decoder else headed.base_model
        batch = minilm.tokenizer(list(TEXTS), return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.inference_mode():
            vectors = load(folder).model.backbone(**batch).last_hidden_state
            torch.testing.assert_close(inside(**batch).last_hidden_state, vectors, atol=1e-4, rtol=1e-4)


def test_a_shift_that_a_norm_cannot_hold_is_refused(context: Context, minilm: Backbone, tmp_path: Path) -> None:
    model = llama()
    model.save_pretrained(tmp_path / "model")
    minilm.tokenizer.save_pretrained(tmp_path / "model")
    folder = saved(context, model, tmp_path / "adapter", "lora", name=str(tmp_path / "model"))
    norm = next(site for site in find_sites(model) if site.is_norm)
    lora = structure_of(model, "lora")
    with description_of(folder) as (description, _):
        description["job"]["options"]["structure"] = (lora | Structure.at([norm], "bias", 1)).to_dict()
    state = load_file(folder / "adapter.safetensors")
    shift = f"adapter.sites.{norm.name.replace('.', '/')}.parts.Bias.shift"
    rewrite(folder, state | {shift: np.ones((1, 16), dtype=np.float32)})
    for form, why in (("merged", "bias cannot be merged"), ("peft", "a norm that has no bias")):
        with pytest.raises(SlatError, match=why):
            export(folder, tmp_path / "out", form)


def test_a_model_that_would_lose_a_bias_is_refused(context: Context, minilm: Backbone, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = llama()
    model.save_pretrained(tmp_path / "model")
    minilm.tokenizer.save_pretrained(tmp_path / "model")
    folder = saved(context, model, tmp_path / "adapter", "bias", name=str(tmp_path / "model"))
    with pytest.raises(SlatError, match="LlamaModel does not keep all that was merged"):
        export(folder, tmp_path / "out", "merged")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "model"]
