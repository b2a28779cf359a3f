"""What is exported computes the same with transformers and peft alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers as hf
from safetensors.numpy import load_file
from torch import nn

from slat_search import SlatError, load
from slat_search.export import export
from slat_search.models.backbone import Backbone
from slat_search.models.registry import model_path
from slat_search.training.context import Context
from tests.conftest import TEXTS
from tests.export.folders import HERE, code_of, code_with_a_head, retold, saved, saved_baseline, structure_of

SHOWN = [
    ("merged", ("lora", "ia3", "norm", "bias"), {"pooling": "mean"}),
    ("peft", ("lora", "norm", "bias"), {"pooling": "mean"}),
    ("merged", ("spectral", "bias"), {"pooling": "mean"}),
    ("peft", ("spectral", "lora", "norm", "bias"), {"pooling": "mean"}),
    ("merged", ("lora",), {"pooling": "first", "pair": True}),
    ("peft", ("lora",), {"pooling": "last", "regression": True}),
]


@pytest.mark.parametrize(("form", "kinds", "as_told"), SHOWN)
def test_the_code_in_the_readme_predicts_as_the_adapter_does(
    context: Context,
    backbone: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    kinds: tuple[str, ...],
    as_told: dict[str, Any],
) -> None:
    folder = retold(saved(context, backbone, tmp_path / "adapter", *kinds), **as_told)
    pair, regression = as_told.get("pair", False), as_told.get("regression", False)
    export(folder, tmp_path / "out", form)
    expected = load(folder)([*zip(TEXTS, reversed(TEXTS), strict=True)] if pair else TEXTS)

    monkeypatch.chdir(tmp_path / "out")
    printed: list[tuple[Any, ...]] = []
    exec(code_of(tmp_path / "out", pair), {"print": lambda *values: printed.append(values)})
    if regression:
        np.testing.assert_allclose(printed[0][0].numpy(), expected[:, 0], atol=1e-4)
    else:
        np.testing.assert_allclose(np.stack([row.numpy() for _, row in printed]), expected, atol=1e-4)
        assert [name for name, _ in printed] == [context.tasks[0].labels[row.argmax()] for row in expected]


def test_the_code_in_the_readme_does_without_this_library(
    context: Context, backbone: nn.Module, tmp_path: Path
) -> None:
    export(saved(context, backbone, tmp_path / "adapter", "lora"), tmp_path / "out", "peft")
    code = code_of(tmp_path / "out") + "import sys; print('slat_search' in sys.modules)\n"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == len(TEXTS) + 1
    assert ran.stdout.splitlines()[-1] == "False"


def test_an_adapter_of_peft_holds_the_modules_and_no_more(
    context: Context, backbone: nn.Module, tmp_path: Path
) -> None:
    folder = saved(context, backbone, tmp_path / "adapter", "lora")
    export(folder, tmp_path / "out", "peft")
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert sum(w.size for w in weights.values()) == structure_of(backbone, "lora").params
    raw = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert raw["base_model_name_or_path"] == HERE
    assert sorted(set(raw["rank_pattern"].values())) == [1, 2]
    assert not raw["lora_bias"]


BASELINES = {
    "lora": {"size": 2, "roles": ["q", "v"]},
    "dora": {"size": 2, "roles": ["q", "v"]},
    "adalora": {"size": 2, "roles": ["q", "v"]},
    "vera": {"size": 16, "roles": ["q", "v"]},
    "ia3": {},
    "layernorm": {},
    "bitfit": {},
    "head": {},
}


@pytest.mark.parametrize("form", ["merged", "peft"])
@pytest.mark.parametrize("method", BASELINES)
def test_a_baseline_can_be_taken_along_as_well(
    context: Context, backbone: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, form: str
) -> None:
    folder = saved_baseline(context, backbone, tmp_path / "adapter", method, **BASELINES[method])
    if (method, form) == ("head", "peft"):
        with pytest.raises(SlatError, match="no module on a projection"):
            export(folder, tmp_path / "out", form)
        return
    export(folder, tmp_path / "out", form)
    expected = load(folder)(TEXTS)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the texts differ in what is said of them
    monkeypatch.chdir(tmp_path / "out")
    printed: list[tuple[Any, ...]] = []
    exec(code_of(tmp_path / "out"), {"print": lambda *values: printed.append(values)})
    np.testing.assert_allclose(np.stack([row.numpy() for _, row in printed]), expected, atol=1e-4)


ON_A_HEAD = [
    *(("peft", "slat", kinds) for kinds in (("lora",), ("lora", "norm", "bias"))),
    *(("peft", method, ()) for method in ("vera", "ia3", "layernorm")),
    ("merged", "slat", ("lora", "ia3", "norm", "bias")),
]


@pytest.mark.parametrize(("form", "method", "kinds"), ON_A_HEAD)
def test_the_readme_says_how_to_put_it_on_a_class_with_a_head(
    context: Context,
    backbone: nn.Module,
    minilm: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    method: str,
    kinds: tuple[str, ...],
) -> None:
    """Its code gives the token vectors of the adapter inside a model for classification; on that model itself, where
    the adapter would change nothing, peft refuses it."""
    if method == "slat":
        folder = saved(context, backbone, tmp_path / "adapter", *kinds)
    else:
        folder = saved_baseline(context, backbone, tmp_path / "adapter", method, **BASELINES[method])
    export(folder, tmp_path / "out", form)
    batch = minilm.tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    predictor = load(folder)
    with torch.inference_mode():
        expected = predictor.model.backbone(**batch).last_hidden_state
        bare = hf.AutoModel.from_pretrained(model_path("minilm")).eval()(**batch).last_hidden_state
    assert (expected - bare).abs().max() > 1e-2

    monkeypatch.chdir(tmp_path / "out")
    names: dict[str, Any] = {}
    exec(code_with_a_head(tmp_path / "out"), names)
    model = names["model"].eval()
    assert type(model) is hf.BertForSequenceClassification
    with torch.inference_mode():
        torch.testing.assert_close(model.bert(**batch).last_hidden_state, expected, atol=1e-4, rtol=1e-4)
        assert model(**batch).logits.shape == (len(TEXTS), 5)
    if form == "peft":
        plain = hf.AutoModelForSequenceClassification.from_pretrained(model_path("minilm"), num_labels=5)
        with pytest.raises(ValueError, match=r"(?i)target[_ ]modules"):
            peft.PeftModel.from_pretrained(plain, tmp_path / "out")
        with pytest.raises(ValueError, match=r"(?i)target[_ ]modules|inject_adapter_in_model"):  # VeRA: never there
            plain.load_adapter(str(tmp_path / "out"))
