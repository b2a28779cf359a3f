"""What is exported computes the same with transformers and peft alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers as hf
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file
from torch import nn

from slat_search import SlatError, load
from slat_search.cli import main
from slat_search.export import export, lora_config
from slat_search.structure import KINDS, Structure, attach, find_sites
from slat_search.training.backbone import Backbone, load_backbone
from slat_search.training.bundle import save_bundle
from slat_search.training.context import Context
from slat_search.training.digests import MadeFrom, weights_digest
from slat_search.training.models import model_path
from slat_search.training.units import Unit
from tests.conftest import TEXTS
from tests.structure.test_families import GROUPED, SMALL
from tests.structure.test_kinds import shake
from tests.training.test_backbone import TRANSLATOR

HERE = "sentence-transformers/all-MiniLM-L6-v2"


def structure_of(model: nn.Module, *kinds: str) -> Structure:
    """Kinds at two thirds of the sites, in sizes of their own; those that stand alone are among them."""
    chosen = Structure()
    for number, kind in enumerate(kinds):
        for place, site in enumerate(find_sites(model)):
            plain = site.is_norm and not isinstance(model.get_submodule(site.name), nn.LayerNorm)  # RMSNorm
            if KINDS[kind].fits(site) and (place + number) % 3 and not plain:
                chosen |= Structure.at([site], kind, 1 + place % 2 if KINDS[kind].sized else 1)
    return chosen


def saved(context: Context, model: nn.Module, folder: Path, *kinds: str, name: str | None = None) -> Path:
    """An adapter folder with random weights in every module."""
    structure = structure_of(model, *kinds)
    adapter = attach(model, structure)
    shake(adapter)
    state = {f"adapter.{n}": p.detach().numpy().copy() for n, p in adapter.named_parameters()}
    adapter.detach()
    width = model.config.hidden_size
    generator = np.random.default_rng(0)
    state |= {"head.weight": generator.normal(size=(5, width)).astype(np.float32) / width**0.5}
    state |= {"head.bias": np.arange(5, dtype=np.float32) / 5}
    if name is not None:
        told = context.config.model.model_copy(update={"name": name})
        made_from = MadeFrom(weights_digest(model), context.made_from.tokenizer, context.made_from.texts)
        context = replace(context, config=context.config.model_copy(update={"model": told}), made_from=made_from)
    unit = Unit("slat", "slat-test", 0.003, 0, options={"structure": structure.to_dict()})
    save_bundle(folder, context, unit, state, {"quality": 0.5, "loss": 1.25})
    return folder


def saved_baseline(context: Context, model: nn.Module, folder: Path, method: str, **options: Any) -> Path:
    """An adapter folder of a hand-made method, with random weights in all that it trains."""
    unit = Unit(method, method, 0.003, 0, options=options)
    applied = unit.apply(model)
    generator = torch.Generator().manual_seed(0)
    state = {
        f"adapter.{name}": (p.detach() + 0.1 * torch.randn(p.shape, generator=generator)).numpy()
        for name, p in applied.trained().items()
    }
    applied.undo()
    state |= {"head.weight": np.eye(5, 384, dtype=np.float32), "head.bias": np.arange(5, dtype=np.float32) / 5}
    save_bundle(folder, context, unit, state, {"quality": 0.5, "loss": 1.25})
    return folder


def code_of(out: Path, pair: bool = False) -> str:
    """The README's code, its model in the package in the place of the hub's, on the tests' texts."""
    code, *_ = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    texts = repr(list(TEXTS)) + (f", {list(reversed(TEXTS))!r}" if pair else "")
    shown = '["first text"], ["second text"]' if pair else '["a text", "another"]'
    assert code.count(shown) == 1
    return code.replace(HERE, model_path("minilm")).replace(shown, texts)


def code_with_a_head(out: Path) -> str:
    """The README's second piece of code, likewise."""
    _, code = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    return code.replace(HERE, model_path("minilm"))


SHOWN = [
    ("merged", ("lora", "ia3", "norm", "bias"), {"pooling": "mean"}),
    ("peft", ("lora", "norm", "bias"), {"pooling": "mean"}),
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
    folder = saved(context, backbone, tmp_path / "adapter", *kinds)
    told = json.loads((folder / "adapter.json").read_text())
    pair, regression = as_told.get("pair", False), as_told.get("regression", False)
    told["model"]["pooling"], told["columns"] = as_told["pooling"], ["text"] * (1 + pair)
    if regression:
        told["labels"], told["scale"] = [], [3.5, 1.25]
        state = load_file(folder / "adapter.safetensors")
        save_file({n: v[:1] if n.startswith("head.") else v for n, v in state.items()}, folder / "adapter.safetensors")
    (folder / "adapter.json").write_text(json.dumps(told))
    export(folder, tmp_path / "out", form)
    expected = load(folder)([*zip(TEXTS, reversed(TEXTS), strict=True)] if pair else TEXTS)

    monkeypatch.chdir(tmp_path / "out")
    printed: list[tuple[Any, ...]] = []
    exec(code_of(tmp_path / "out", pair), {"print": lambda *values: printed.append(values)})
    if regression:
        np.testing.assert_allclose(printed[0][0].numpy(), expected[:, 0], atol=1e-4)
    else:
        np.testing.assert_allclose(np.stack([row.numpy() for _, row in printed]), expected, atol=1e-4)
        assert [name for name, _ in printed] == [context.labels[row.argmax()] for row in expected]


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
    told = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert told["base_model_name_or_path"] == HERE
    assert sorted(set(told["rank_pattern"].values())) == [1, 2]
    assert not told["lora_bias"]


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
    told = json.loads((folder / "adapter.json").read_text())
    norm = next(site for site in find_sites(model) if site.is_norm)
    lora = structure_of(model, "lora")
    told["unit"]["options"]["structure"] = (lora | Structure.at([norm], "bias", 1)).to_dict()
    (folder / "adapter.json").write_text(json.dumps(told))
    state = load_file(folder / "adapter.safetensors")
    shift = f"adapter.sites.{norm.name.replace('.', '/')}.parts.Bias.shift"
    save_file(state | {shift: np.ones((1, 16), dtype=np.float32)}, folder / "adapter.safetensors")
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


REFUSED = [
    ("merged", ("lora", "serial"), r"this adapter's serial cannot be merged .*kinds: \[lora\]"),
    ("merged", ("parallel",), "this adapter's parallel cannot be merged"),
    ("peft", ("lora", "ia3", "serial"), "peft cannot hold this adapter's ia3, serial"),
    ("peft", ("norm",), "no module on a projection"),
    ("peft", (), "no module on a projection"),
]


@pytest.mark.parametrize(("form", "kinds", "why"), REFUSED)
def test_what_a_form_cannot_hold_is_said_and_leaves_nothing(
    context: Context, backbone: nn.Module, tmp_path: Path, form: str, kinds: tuple[str, ...], why: str
) -> None:
    folder = saved(context, backbone, tmp_path / "adapter", *kinds)
    told = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out"), "--format", form])
    assert told.exit_code == 2
    assert re.search(why, told.output)
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_a_bare_head_is_the_model_itself(context: Context, backbone: nn.Module, tmp_path: Path) -> None:
    folder = saved(context, backbone, tmp_path / "adapter")
    told = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out")])
    assert told.exit_code == 0, told.output
    assert "README.md" in told.output
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert all(np.array_equal(again[name], value.numpy()) for name, value in backbone.state_dict().items())


def test_nothing_is_written_over(context: Context, backbone: nn.Module, tmp_path: Path) -> None:
    folder = saved(context, backbone, tmp_path / "adapter", "lora")
    with pytest.raises(SlatError, match="is not an empty folder"):
        export(folder, folder, "merged")
    with pytest.raises(SlatError, match=r"no adapter\.json there"):
        export(tmp_path, tmp_path / "out", "merged")


@pytest.mark.parametrize("method", ["prefix", "unipelt"])
def test_a_method_that_no_library_can_hold_is_refused(
    context: Context, backbone: nn.Module, tmp_path: Path, method: str
) -> None:
    folder = saved_baseline(context, backbone, tmp_path / "adapter", method, size=2)
    with pytest.raises(SlatError, match=f"holds '{method}', which no other library can hold"):
        export(folder, tmp_path / "out", "merged")


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
        found = model.base_model.model.bert(**batch).last_hidden_state
        adapter.detach()
        plain = bare(**batch).last_hidden_state
    assert (expected - plain).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kinds", "why"), [(("lora", "bias"), "peft cannot train bias at"), (("norm",), "no LoRA")])
def test_a_structure_that_peft_cannot_train_is_refused(backbone: nn.Module, kinds: tuple[str, ...], why: str) -> None:
    with pytest.raises(SlatError, match=why):
        lora_config(structure_of(backbone, *kinds))
