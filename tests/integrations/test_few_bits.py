"""A search in the Trainer on weights that transformers keeps in few bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from slat_search import SearchPlan, SlatCallback, Supernet, load_adapter, save_adapter
from slat_search.structure import find_sites
from tests.decoders import decoder

pytestmark = pytest.mark.llm
pytest.importorskip("bitsandbytes")

HOW = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16},
    "int8": {"load_in_8bit": True},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder(tmp_path_factory.mktemp("decoder"), "wide")


def load(folder: Path, kind: Any, bits: str) -> hf.PreTrainedModel:
    quantized = hf.BitsAndBytesConfig(**HOW[bits], llm_int8_skip_modules=["lm_head", "score"])
    model = kind.from_pretrained(folder, quantization_config=quantized, dtype=torch.bfloat16)
    model.config.pad_token_id = 2
    return model


@pytest.mark.parametrize("bits", HOW)
@pytest.mark.parametrize("kind", [hf.AutoModelForCausalLM, hf.AutoModelForSequenceClassification])
def test_it_is_searched_saved_and_loaded(folder: Path, tmp_path: Path, kind: Any, bits: str) -> None:
    torch.manual_seed(0)
    model = load(folder, kind, bits)
    head = getattr(model, "score", None)
    below = model if head is None else model.model
    below.requires_grad_(False)
    ids = torch.randint(3, 300, (64, 12))
    labels = ids[:, -1:].expand(-1, 12) if head is None else ids[:, -1] % 2
    rows = [{"input_ids": i, "labels": label} for i, label in zip(ids, labels, strict=True)]
    args = hf.TrainingArguments(
        output_dir=str(tmp_path), max_steps=30, learning_rate=0.01, save_strategy="no", report_to="none", use_cpu=True
    )
    with pytest.raises(ValueError, match="purely quantized"):
        hf.Trainer(model, args, train_dataset=rows)
    callback = SlatCallback(Supernet(below, find_sites(below)), SearchPlan(budget=600), model)
    trainer = hf.Trainer(model, args, train_dataset=rows, eval_dataset=rows, callbacks=[callback])
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < before
    assert 0 < callback.structure.params <= 606
    file = save_adapter(callback.adapter, tmp_path)
    callback.supernet.detach()
    load_adapter(below, file)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(after, abs=1e-3)
    with pytest.raises(ValueError, match="purely quantized"):
        hf.Trainer(model, args, train_dataset=rows)
