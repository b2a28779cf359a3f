"""Exports in the usual classes give the probabilities of the adapter: AutoModelForSequenceClassification, pipelines,
and sentence-transformers where no class of transformers can hold the head."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers as hf
from click.testing import CliRunner
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from torch import nn

from slat_search import SlatError, load
from slat_search.cli import main
from slat_search.export import export
from slat_search.models.backbone import Backbone
from slat_search.training.context import Context
from tests.conftest import TEXTS
from tests.export.folders import as_if_on_the_hub, code_of, piece, retold, rewrite, saved, saved_baseline, with_model
from tests.export.test_other_models import gpt2, llama, roberta, t5
from tests.export.test_servers import grouped
from tests.structure.test_families import SMALL

WIDE = {**SMALL, "vocab_size": 30522, "max_position_embeddings": 64}
PAIRS = [*zip(TEXTS, reversed(TEXTS), strict=True)]


def bert() -> nn.Module:
    return hf.BertModel(hf.BertConfig(**WIDE))


def electra() -> nn.Module:
    return hf.ElectraModel(hf.ElectraConfig(**WIDE, embedding_size=16))


def distilbert() -> nn.Module:
    return hf.DistilBertModel(hf.DistilBertConfig(dim=16, hidden_dim=32, n_layers=2, n_heads=2, vocab_size=30522))


def deberta() -> nn.Module:
    return hf.DebertaV2Model(hf.DebertaV2Config(**WIDE, pooler_hidden_size=16))


def albert() -> nn.Module:
    return hf.AlbertModel(hf.AlbertConfig(**WIDE, embedding_size=16))


def modernbert() -> nn.Module:
    return hf.ModernBertModel(hf.ModernBertConfig(**WIDE, cls_token_id=1, sep_token_id=2))


def neox() -> nn.Module:
    return hf.GPTNeoXModel(hf.GPTNeoXConfig(**WIDE))


def loaded_class(out: Path, form: str) -> nn.Module:
    if form == "merged":
        return hf.AutoModelForSequenceClassification.from_pretrained(out).eval()
    settings = json.loads((out / "classifier.json").read_text())
    if "id2label" in settings:  # JSON has no keys that are numbers
        settings["id2label"] = {int(number): name for number, name in settings["id2label"].items()}
    return peft.AutoPeftModelForSequenceClassification.from_pretrained(out, **settings).eval()


FITTING = [
    *((make, form, "first", ("lora", "bias", "norm")) for make in (bert, roberta) for form in ("merged", "peft")),
    *((make, "peft", "first", ("lora",)) for make in (electra, distilbert, deberta)),
    *((make, form, "last", ("lora", "spectral")) for make in (gpt2, neox) for form in ("merged", "peft")),
    (gpt2, "merged", "last", ()),
    (bert, "merged", "first", ()),
]


@pytest.mark.parametrize(("make", "form", "pooling", "kinds"), FITTING)
def test_a_class_for_classification_and_a_pipeline_say_what_the_adapter_says(
    small: Callable[..., Path],
    tmp_path: Path,
    make: Callable[[], nn.Module],
    form: str,
    pooling: str,
    kinds: tuple[str, ...],
) -> None:
    folder = small(make, *kinds, pooling=pooling)
    exported = export(folder, tmp_path / "out", form)
    assert (exported.task_type, exported.reason) == ("SEQ_CLS", "")
    predictor = load(folder)
    expected = predictor(TEXTS)
    assert np.ptp(expected, axis=0).max() > 1e-2
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path / "out")
    model = loaded_class(tmp_path / "out", form)
    with torch.inference_mode():
        logits = model(**tokenizer(list(TEXTS), padding=True, return_tensors="pt", return_token_type_ids=False)).logits
    np.testing.assert_allclose(logits.softmax(-1).numpy(), expected, atol=2e-6)
    assert model.config.problem_type == "single_label_classification"
    source = {"model": str(tmp_path / "out")} if form == "merged" else {"model": model, "tokenizer": tokenizer}
    classify = hf.pipeline("text-classification", **source, top_k=None)
    for answer, row in zip(classify(list(TEXTS), truncation=True), expected, strict=True):
        result = {one["label"]: one["score"] for one in answer}
        np.testing.assert_allclose([result[label] for label in predictor.labels], row, atol=2e-6)


@pytest.mark.parametrize("form", ["merged", "peft"])
@pytest.mark.parametrize(("make", "pooling"), [(bert, "first"), (gpt2, "last")])
def test_a_regression_gives_its_numbers(
    small: Callable[..., Path], tmp_path: Path, make: Callable[[], nn.Module], pooling: str, form: str
) -> None:
    folder = small(make, "lora", pooling=pooling, regression=True)
    assert export(folder, tmp_path / "out", form).task_type == "SEQ_CLS"
    expected = load(folder)(TEXTS)[:, 0]
    assert np.ptp(expected) > 1e-2
    model, tokenizer = loaded_class(tmp_path / "out", form), hf.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    classify = hf.pipeline("text-classification", model=model, tokenizer=tokenizer)
    np.testing.assert_allclose([one["score"] for one in classify(list(TEXTS))], expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["merged", "peft"])
@pytest.mark.parametrize("pooling", ["first", "last"])
def test_the_readme_of_such_an_export_runs(
    small: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, pooling: str
) -> None:
    folder = small(bert if pooling == "first" else gpt2, "lora", pooling=pooling, pair=True)
    export(folder, tmp_path / "out", form)
    expected = load(folder)(PAIRS)
    monkeypatch.chdir(tmp_path / "out")
    printed: list[tuple[Any, ...]] = []
    names: dict[str, Any] = {"print": lambda *values: printed.append(values)}
    exec(code_of(tmp_path / "out", pair=True), names)
    np.testing.assert_allclose(np.stack([row.numpy() for _, row in printed]), expected, atol=2e-6)
    rows = [{"text": one, "text_pair": two} for one, two in PAIRS]
    code = piece(tmp_path / "out", "pipeline(")
    shown = '[{"text": "first text", "text_pair": "second text"}]'
    assert shown in code
    exec(code.replace(shown, repr(rows)), names)
    best = [max(answer, key=lambda one: one["score"])["label"] for answer in names["answers"]]
    assert best == [load(folder).labels[k] for k in expected.argmax(1)]


UNFIT = [
    (bert, "mean", "BertForSequenceClassification does not read a text's vector with `pooling: mean`"),
    (bert, "last", "BertForSequenceClassification does not read a text's vector with `pooling: last`"),
    (gpt2, "mean", "GPT2ForSequenceClassification does not read"),
    (llama, "last", "LlamaForSequenceClassification has no bias in its `score`, and no norm with a bias before it"),
    (modernbert, "first", "ModernBertForSequenceClassification has layers before its labels that a linear head cannot"),
    (t5, "mean", "no class that classifies with the encoder of t5 alone"),
]


@pytest.mark.parametrize(("make", "pooling", "why"), UNFIT)
def test_a_head_that_no_class_holds_is_told_and_refused_when_asked_for(
    small: Callable[..., Path], tmp_path: Path, make: Callable[[], nn.Module], pooling: str, why: str
) -> None:
    folder = small(make, "lora", pooling=pooling)
    result = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out"), "--format", "peft"])
    assert result.exit_code == 0, result.output
    assert f"note: exported without a class for classification: {why}" in result.stderr.replace("transformers has ", "")
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["task_type"] == "FEATURE_EXTRACTION"
    with pytest.raises(SlatError, match="export: .*" + why.split("`")[0]):
        export(folder, tmp_path / "other", "peft", task_type="SEQ_CLS")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "model", "out"]


def test_a_score_without_bias_holds_a_head_whose_labels_have_equal_biases(
    small: Callable[..., Path], tmp_path: Path
) -> None:
    """One bias for all labels changes no probability, so a decoder with RMSNorm fits then."""
    folder = small(llama, "lora", pooling="last")
    state = load_file(folder / "adapter.safetensors")
    rewrite(folder, state | {"head.bias": np.full(5, 0.25, dtype=np.float32)})
    assert export(folder, tmp_path / "out", "peft").task_type == "SEQ_CLS"
    model, tokenizer = loaded_class(tmp_path / "out", "peft"), hf.AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        logits = model(**tokenizer(list(TEXTS), padding=True, return_tensors="pt", return_token_type_ids=False)).logits
    np.testing.assert_allclose(logits.softmax(-1).numpy(), load(folder)(TEXTS), atol=2e-6)


SENTENCES = [
    (bert, "merged", "mean", {}),
    (bert, "peft", "mean", {}),
    (llama, "peft", "last", {}),
    (llama, "merged", "last", {"regression": True}),
    (bert, "peft", "mean", {"pair": True}),
    (modernbert, "merged", "first", {}),
]


@pytest.mark.parametrize(("make", "form", "pooling", "told"), SENTENCES)
def test_sentence_transformers_loads_what_no_class_holds(
    small: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], nn.Module],
    form: str,
    pooling: str,
    told: dict[str, bool],
) -> None:
    folder = small(make, "lora", pooling=pooling, **told)
    export(folder, tmp_path / "out", form)
    texts = PAIRS if told.get("pair") else list(TEXTS)
    expected = load(folder)(texts)
    monkeypatch.chdir(tmp_path / "out")
    names: dict[str, Any] = {}
    shown = '[("first text", "second text")]' if told.get("pair") else '["a text", "another"]'
    code = piece(tmp_path / "out", "SentenceTransformer(")
    assert shown in code
    exec(code.replace(shown, repr(texts)), names)
    np.testing.assert_allclose(names["values"].cpu().numpy(), expected, atol=1e-5)
    assert isinstance(names["model"], SentenceTransformer)


def test_the_embedded_encoder_in_its_class(context: Context, backbone: nn.Module, tmp_path: Path) -> None:
    """The real model, whose pooler is one that is not used in training."""
    folder = retold(saved(context, backbone, tmp_path / "adapter", "lora", "norm"), pooling="first")
    assert export(folder, tmp_path / "out", "peft").task_type == "SEQ_CLS"
    as_if_on_the_hub(tmp_path / "out")
    model, tokenizer = loaded_class(tmp_path / "out", "peft"), hf.AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        logits = model(**tokenizer(list(TEXTS), padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(logits.softmax(-1).numpy(), load(folder)(TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "task_type"), [("ia3", "SEQ_CLS"), ("dora", "SEQ_CLS"), ("vera", "FEATURE_EXTRACTION")]
)
def test_methods_of_peft_go_into_the_class_where_they_can(
    context: Context, minilm: Backbone, tmp_path: Path, method: str, task_type: str
) -> None:
    model = with_model(bert, minilm.tokenizer, tmp_path / "model")
    options = {"ia3": {}, "dora": {"size": 2, "roles": ["q", "v"]}, "vera": {"size": 4, "roles": ["q", "v"]}}
    name = str(tmp_path / "model")
    folder = retold(
        saved_baseline(context, model, tmp_path / "adapter", method, name=name, **options[method]), pooling="first"
    )
    exported = export(folder, tmp_path / "out", "peft")
    assert exported.task_type == task_type
    if task_type == "FEATURE_EXTRACTION":
        assert exported.reason == "VERA of peft is exported for the model without a head"
        return
    model, tokenizer = loaded_class(tmp_path / "out", "peft"), hf.AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.inference_mode():
        logits = model(**tokenizer(list(TEXTS), padding=True, return_tensors="pt", return_token_type_ids=False)).logits
    np.testing.assert_allclose(logits.softmax(-1).numpy(), load(folder)(TEXTS), atol=2e-6)


@pytest.mark.parametrize("form", ["merged", "peft"])
def test_the_class_that_generates(small: Callable[..., Path], tmp_path: Path, form: str) -> None:
    folder = small(grouped, "lora", "spectral", pooling="last")
    assert export(folder, tmp_path / "out", form, task_type="CAUSAL_LM").task_type == "CAUSAL_LM"
    printed: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "out")
        exec(code_of(tmp_path / "out"), {"print": lambda *values: printed.append(values)})
    np.testing.assert_allclose(np.stack([row.numpy() for _, row in printed]), load(folder)(TEXTS), atol=1e-5)


def test_an_encoder_generates_nothing(small: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(SlatError, match="BertModel generates no text"):
        export(small(bert, "lora"), tmp_path / "out", "peft", task_type="CAUSAL_LM")
