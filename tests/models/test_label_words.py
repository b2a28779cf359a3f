"""Label words: scores against the definition, in families of decoders that differ in what could spoil them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from slat_search import SlatError
from slat_search.models.backbone import Backbone, load_backbone
from slat_search.models.label_words import LabelWords
from slat_search.structure import find_sites
from slat_search.tasks import Example, Prompts, Template, encode_prompts
from tests.decoders import FAMILIES, decoder

TEXTS = ("Chelsea win away", "Markets fall after a surprise rise in interest rates", "Film festival opens")
WORDS = ("sport", "big business", "big", "big business news")


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(str(decoder(tmp_path_factory.mktemp(request.param), request.param)), causal=True)


def task_of(backbone: Backbone) -> tuple[LabelWords, Prompts]:
    template = Template.of(backbone.tokenizer, ["text"], "Headline: {text}\nTopic:")
    data = encode_prompts(template, [Example((text,), i) for i, text in enumerate(TEXTS)], 64)
    return LabelWords(backbone.model, template.words(WORDS)).eval(), data


@torch.no_grad()
def by_definition(model: LabelWords, data: Prompts, row: int, label: int) -> float:
    """Mean log-probability of the words of a label, by one text and one label at a time, without padding."""
    prompt = data.ids[data.offsets[row] : data.offsets[row + 1]].tolist()
    word = list(model.words[label])
    logits = model.backbone(input_ids=torch.tensor([prompt + word])).logits[0].double()
    scores = logits.log_softmax(-1)[range(len(prompt) - 1, len(prompt) + len(word) - 1), word]
    return float(scores.mean())


def test_scores_are_those_of_the_definition(backbone: Backbone) -> None:
    model, data = task_of(backbone)
    with torch.no_grad():
        scores = model(data.batch([0, 1, 2])).numpy()
    expected = [[by_definition(model, data, row, label) for label in range(4)] for row in range(3)]
    assert np.allclose(scores, expected, atol=2e-5)
    assert np.ptp(scores, axis=1).min() > 1e-3  # a test on models that say one thing would say nothing


def test_the_loss_is_that_of_the_right_labels_words(backbone: Backbone) -> None:
    model, data = task_of(backbone)
    batch = data.batch([0, 1, 2])
    scores = model(batch)
    assert torch.allclose(model.loss(batch), -scores[range(3), batch["labels"]].mean(), atol=1e-5)


def test_labels_of_one_token_are_read_in_one_pass(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    backbone.model.register_forward_pre_hook(hook := lambda module, args: passes.append(1))
    model, data = task_of(backbone)
    one = LabelWords(backbone.model, [word[:1] for word in model.words[:2]])
    with torch.no_grad():
        one(data.batch([0]))
        assert len(passes) == 1
        model(data.batch([0]))
    assert len(passes) == 1 + len(model._stems)
    assert len(model._stems) < len(WORDS)  # "big" and "big business" are read on the way to the longest
    assert hook is not None
    backbone.model._forward_pre_hooks.clear()


def test_the_head_is_no_place_for_modules(backbone: Backbone) -> None:
    assert not [site.name for site in find_sites(backbone.model) if "lm_head" in site.name or "embed_out" in site.name]
    bare = load_backbone(backbone.name)
    assert [s.name.split(".", 1)[-1] for s in find_sites(bare.model)] == [
        s.name.removeprefix("model.").removeprefix("transformer.").split(".", 1)[-1] for s in find_sites(backbone.model)
    ]


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlatError, match=r"'minilm': a prompt needs a causal language model, and bert is none"):
        load_backbone("minilm", causal=True)


def test_a_model_without_its_output_layer_is_refused(tmp_path: Path) -> None:
    folder = decoder(tmp_path / "whole")
    load_backbone(str(folder), causal=True).model.model.save_pretrained(tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare" / name).write_bytes((folder / name).read_bytes())
    load_backbone(str(tmp_path / "bare"))
    with pytest.raises(SlatError, match=r"its weights lack lm_head\.weight of a LlamaForCausalLM"):
        load_backbone(str(tmp_path / "bare"), causal=True)
