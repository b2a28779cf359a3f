"""Weights of 4 and 8 bits on a tiny decoder, on whatever device is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from slat_search import SlatError
from slat_search.export import export
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import write_adapter
from slat_search.models.backbone import load_backbone
from slat_search.models.object_store import packed, unpacked
from slat_search.models.quantized import QUANTIZED
from slat_search.records import TrainingJob
from slat_search.structure import Structure, attach, find_sites
from slat_search.structure.singular import singular_basis, weight_of
from slat_search.training.context import Context, prepare
from slat_search.training.evaluate import predict_logits
from slat_search.training.jobs import evaluate_job, train_job
from tests.conftest import small_config
from tests.decoders import decoder
from tests.structure.test_kinds import shake

pytestmark = pytest.mark.llm
pytest.importorskip("bitsandbytes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder(tmp_path_factory.mktemp("decoder"), "wide")


def context(folder: Path, weights: str) -> Context:
    task = {"name": "bbc-headline", "max_rows": 96, "prompt": "Headline: {headline}\nTopic:"}
    model = {"name": str(folder), "weights": weights}
    return prepare(small_config(task=task, model=model, training={"steps": 60, "batch_size": 16}))[0]


@pytest.mark.parametrize("weights", QUANTIZED)
def test_it_is_searched_trained_saved_and_used(folder: Path, tmp_path: Path, weights: str) -> None:
    result = context(folder, weights)
    train_job(result, TrainingJob("head", "head", 0.01, 0))
    layer = result.frozen.model.model.layers[0].mlp.up_proj
    assert type(layer).__name__ == {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[weights]
    searched, state = train_job(result, TrainingJob("search", "search", 0.01, 0, options={"budget": 600}))
    assert 0 < searched.params <= 606
    job = TrainingJob("slat", "slat", 0.03, 0, options={"structure": searched.structure})
    tested, _ = evaluate_job(result, job, state)
    write_adapter(tmp_path / "adapter", result, job, state, searched.validation)
    predictor = load_predictor(tmp_path / "adapter")
    assert type(predictor.model.backbone.model.layers[0].mlp.up_proj) is type(layer)
    test = result.tasks[0].test
    assert (predict_logits(predictor.model, test).argmax(1) == test.labels).mean() == tested.quality
    export(tmp_path / "adapter", tmp_path / "peft", "peft")  # on the weights as they were published
    lora = Structure.lora(find_sites(result.frozen.model), r=2)
    adapter = attach(result.frozen.model, lora)
    with pytest.raises(SlatError, match="is kept in few bits, which hold nothing that is merged"):
        adapter.merge()
    adapter.detach()


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("weights", QUANTIZED)
def test_gradients_are_those_of_what_the_bits_stand_for(folder: Path, weights: str, evaluated: bool) -> None:
    few, plain = load_backbone(str(folder), weights=weights, causal=True), load_backbone(str(folder), causal=True)
    few.quantize()
    for name, layer in few.model.named_modules():
        if isinstance(layer, nn.Linear) and "lm_head" not in name:
            layer.unquantized = None
            plain.model.get_submodule(name).weight.data.copy_(weight_of(layer))
    structure = Structure.lora(find_sites(plain.model), r=2)
    gradients = []
    for backbone in (few, plain):
        torch.manual_seed(0)
        ids = torch.arange(40).view(2, 20)
        if evaluated:  # which may pack the bits in another way
            with torch.no_grad():
                backbone.model.eval()(input_ids=ids)
        adapter = attach(backbone.model, structure)
        shake(adapter)
        backbone.model.train()(input_ids=ids, labels=ids).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in adapter.parameters()]))
        adapter.detach()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize("weights", QUANTIZED)
def test_directions_are_those_of_the_weights_before(folder: Path, weights: str) -> None:
    backbone, plain = load_backbone(str(folder), weights=weights), load_backbone(str(folder), weights="bfloat16")
    again = unpacked(packed(backbone.model))
    backbone.quantize()
    for name, layer in plain.model.named_modules():
        if type(layer) is not nn.Linear or "lm_head" in name:
            continue
        few = backbone.model.get_submodule(name)
        assert torch.equal(singular_basis(layer, 4).left, singular_basis(few, 4).left)
        assert torch.equal(again.get_submodule(name).weight, layer.weight)
        few.unquantized = None
        error = (weight_of(few) - layer.weight).abs().max() / layer.weight.abs().max()
        assert 0 < error < (0.2 if weights == "nf4" else 0.01)


def test_full_fine_tuning_is_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="full fine-tuning has nothing to train in weights of nf4"):
        small_config(model={"name": str(folder), "weights": "nf4"}, baselines=["full"])


def test_what_is_predicted_is_near_the_model_as_it_was(folder: Path) -> None:
    whole, few = context(folder, "bfloat16"), context(folder, "nf4")
    logits = [predict_logits(c.models()[0], c.tasks[0].test) for c in (whole, few)]
    assert np.abs(logits[0] - logits[1]).max() < 0.5 * np.ptp(logits[0])
    assert not np.array_equal(*logits)
