"""Responses: log-probabilities against the definition, generation against the library's, measures against examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from slat_search.models import responses
from slat_search.models.backbone import Backbone, load_backbone
from slat_search.models.responses import ResponseModel, exact_match, rouge_l, until
from slat_search.tasks import Example, Responses, Template, encode_responses
from tests.decoders import FAMILIES, decoder

ROWS = [
    Example(("Chelsea win away",), 0, "A win."),
    Example(("Markets fall after a surprise rise in interest rates",), 0, "Prices are lower than they were."),
]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return load_backbone(str(decoder(tmp_path_factory.mktemp(request.param), request.param)), causal=True)


def encoded(backbone: Backbone) -> Responses:
    return encode_responses(Template.of(backbone.tokenizer, ["headline"], "Say more: {headline}\n"), ROWS, 64)


@torch.no_grad()
def test_scores_are_those_of_the_definition(backbone: Backbone) -> None:
    data = encoded(backbone)
    model = ResponseModel(backbone.model, backbone.tokenizer, "token_accuracy", 8).eval()
    result = model(data.batch([0, 1])).numpy()
    for row in (0, 1):
        prompt = data.ids[data.offsets[row] : data.offsets[row + 1]].tolist()
        response = data.response(row).tolist()
        logits = backbone.model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].double()
        assert result[row, 1] == pytest.approx(
            float(logits.log_softmax(-1)[range(len(response)), response].sum()), rel=1e-5
        )
        assert result[row, 2] == len(response)
        assert result[row, 0] == pytest.approx(np.mean(logits.argmax(-1).numpy() == response))
    assert float(model.loss(data.batch([0, 1]))) == pytest.approx(-result[:, 1].sum() / result[:, 2].sum(), rel=1e-5)


def test_what_is_generated_is_what_it_is_alone(backbone: Backbone) -> None:
    data = encoded(backbone)
    model = ResponseModel(backbone.model, backbone.tokenizer, "rouge_l", 6).eval()
    for row, response in enumerate(model.generate(data.batch([0, 1]))):
        ids = torch.tensor([data.ids[data.offsets[row] : data.offsets[row + 1]].tolist()])
        for _ in range(6):
            ids = torch.cat([ids, backbone.model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
            if int(ids[0, -1]) == backbone.tokenizer.eos_token_id:
                break
        alone = backbone.tokenizer.decode(ids[0, data.offsets[row + 1] - data.offsets[row] :], skip_special_tokens=True)
        assert response == alone.strip()
    assert float(model(data.batch([0, 1]))[:, 0].min()) >= 0


def test_generation_is_greedy_whatever_the_model_brings(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a test in a worker, which knows the model's class and weights alone."""
    model, batch = ResponseModel(backbone.model, backbone.tokenizer, "rouge_l", 12), encoded(backbone).batch([0, 1])
    plain = model.generate(batch)
    eager = GenerationConfig(repetition_penalty=9.0, no_repeat_ngram_size=1, min_new_tokens=3, eos_token_id=7)
    monkeypatch.setattr(backbone.model, "generation_config", eager)
    assert model.generate(batch) == plain
    assert backbone.model.generation_config is eager


def test_generation_ends_where_a_response_does(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end may be several tokens, as of a chat template; one row may end before the other."""
    batch = encoded(backbone).batch([0, 1])
    length = batch["input_ids"].shape[1]
    found: list[torch.Tensor] = []
    generate = backbone.model.generate
    monkeypatch.setattr(backbone.model, "generate", lambda **fields: found.append(generate(**fields)) or found[-1])
    ResponseModel(backbone.model, backbone.tokenizer, "rouge_l", 12).generate(batch)
    free = found[-1][0, length:].tolist()
    stop = free[2:4]
    model = ResponseModel(backbone.model, backbone.tokenizer, "rouge_l", 12, stop)
    first, _ = model.generate(batch)
    assert first == backbone.tokenizer.decode(until(free, stop), skip_special_tokens=True).strip()
    ended = found[-1][0, length:].tolist()
    size = len(until(free, stop)) + 2
    assert ended[:size] == free[:size]
    assert set(ended[size:]) <= {backbone.tokenizer.pad_token_id}


def test_tokens_until_what_ends_them() -> None:
    assert until([1, 2, 3, 2, 4], [2, 4]) == [1, 2, 3]
    assert until([1, 2, 3], [3, 4]) == until([1, 2, 3], []) == [1, 2, 3]
    assert until([3, 4, 1], [3, 4]) == []


@torch.no_grad()
def test_large_logits_are_computed_in_parts(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = encoded(backbone).batch([0, 1])
    model = ResponseModel(backbone.model, backbone.tokenizer, "rouge_l", 6).eval()
    whole = model(batch)
    monkeypatch.setattr(responses, "_MOST_LOGITS", 1)
    assert torch.allclose(model(batch), whole, atol=1e-4)


def test_measures_of_a_response() -> None:
    assert exact_match("Four.", " Four.\n") == 1
    assert exact_match("Four.", "four.") == 0
    assert rouge_l("police killed the gunman", "police kill the gunman") == pytest.approx(0.75)  # Lin 2004, section 3
    assert rouge_l("police killed the gunman", "the gunman kill police") == pytest.approx(0.5)
    assert rouge_l("Yes", "") == 0
    assert rouge_l("", "") == 1
