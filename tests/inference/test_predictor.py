"""A saved adapter that is damaged, or of another model, is one sentence that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers as hf
from safetensors.numpy import load_file, save_file
from torch import nn

from slat_search import SlatError, load
from slat_search.files import save_arrays
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import read_saved
from slat_search.models.backbone import Backbone
from slat_search.records import SavedAdapter
from slat_search.training.context import Context
from tests.export.folders import description_of, rewrite, saved

State = dict[str, np.ndarray]
HEAD = "head.weight"
BIAS = "adapter.sites.encoder/layer/0/attention/output/LayerNorm.parts.Bias.shift"


@pytest.fixture
def adapter(context: Context, backbone: nn.Module, tmp_path: Path) -> Path:
    return saved(context, backbone, tmp_path / "adapter", "lora", "bias")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"job": None}, r"adapter.json: damaged, or made by an earlier version, which kept less \(job is missing\)"),
        ({"tasks": {}}, r"adapter.json: damaged \(tasks: Dictionary should have at least 1 item"),
        ({"tasks": {"a": {"labels": []}}}, r"adapter.json: damaged, or .* \(tasks.a.scale is missing\)"),
        ({"model": {"name": "minilm", "size": 1}}, r"damaged \(model.size: Extra inputs are not permitted\)"),
        ({"job": {"method": "slat"}}, r"adapter.json: damaged, or .* \(job.label is missing\)"),
        ({"job": {"method": "slta", "label": "a", "learning_rate": 0.1, "seed": 0}}, "no method is called 'slta'"),
        (
            {"job": {"method": "slat", "label": "a", "learning_rate": 0.1, "seed": 0}},
            r"adapter.json: damaged \(job.options has no structure\)",
        ),
        (
            {"job": {"method": "slat", "label": "a", "learning_rate": 0.1, "seed": 0, "options": {"structure": {}}}},
            r"adapter.json: damaged \(structure: not a structure",
        ),
        ({"version": 9}, "adapter.json: is of version 9; this library reads versions up to 4"),
        (
            {"format": "slat-adapter/9"},
            "is of format 'slat-adapter/9'; this library reads slat-adapter/1",
        ),
    ],
)
def test_an_error_names_what_the_description_lacks(adapter: Path, fields: dict[str, Any], message: str) -> None:
    with description_of(adapter) as (description, _):
        description.update(fields)
        for name in [name for name, value in fields.items() if value is None]:
            del description[name]
    with pytest.raises(SlatError, match=message) as error:
        read_saved(adapter)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"roles": None},
        {"roles": [1]},
        {"peft": 5},
        {"peft": {"layer_replication": [[0, 500]]}},
        {"peft": {"runtime_config": 5}},
    ],
)
def test_options_that_no_method_takes_are_one_sentence(adapter: Path, options: dict[str, Any]) -> None:
    job = {"method": "lora", "label": "a", "learning_rate": 0.1, "seed": 0, "options": {"r": 2, **options}}
    with description_of(adapter) as (description, _):
        description["job"] = job
    with pytest.raises(SlatError, match=r"adapter\.json: damaged \(no 'lora' has such options: ") as error:
        load_predictor(adapter)
    assert "\n" not in str(error.value)


def earlier(folder: Path, number: int) -> dict[str, Any]:
    """The description of an adapter of one task as versions 1 to 3 wrote it."""
    saved = SavedAdapter.read(folder / "adapter.json")
    (task,) = saved.tasks.values()
    raw = task.to_dict() | {"format": f"slat-adapter/{number}", "model": saved.model.model_dump()}
    raw |= {"unit": asdict(saved.job), "made_from": {**saved.digests, "texts": raw.pop("digests")}}
    if number < 3:
        del raw["prompt"]
    if number < 2:
        del raw["made_from"]
        raw["texts"] = len(raw.pop("columns"))
    return raw


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_adapter_of_an_earlier_version_predicts_the_same(adapter: Path, number: int) -> None:
    expected, raw = load(adapter)(["Chelsea win away"]), earlier(adapter, number)
    (adapter / "adapter.json").write_text(json.dumps(raw))
    predict = load(adapter)
    assert np.array_equal(predict(["Chelsea win away"]), expected)
    assert predict.columns == (("text 1",) if number == 1 else ("headline",))
    assert predict.saved.digests.keys() == (set() if number == 1 else {"weights", "tokenizer"})
    del raw["unit"]
    (adapter / "adapter.json").write_text(json.dumps(raw))
    with pytest.raises(SlatError, match=r"adapter.json: damaged \(job: Input should be"):
        load(adapter)


CHANGES: list[tuple[Callable[[State], State], str]] = [
    (lambda s: {n: v for n, v in s.items() if n != HEAD}, "adapter weights do not fit: weight$"),
    (lambda s: s | {HEAD: s[HEAD][:, :10].copy()}, r"weight has shape \(5, 10\), and \(5, 384\) in this model"),
    (lambda s: s | {HEAD: s[HEAD][:2].copy()}, r"weight has shape \(2, 384\), and \(5, 384\) in this model"),
    (lambda s: {n: v for n, v in s.items() if n != BIAS}, f"do not fit: {BIAS.removeprefix('adapter.')}$"),
    (lambda s: s | {BIAS: np.ones(1, np.float32)}, r"Bias.shift has shape \(1,\), and \(1, 384\) in this model"),
    (lambda s: s | {BIAS: s[BIAS] * np.nan}, rf"adapter\.safetensors: damaged \({BIAS} holds NaN or infinity\)"),
    (lambda s: s | {BIAS: np.ones((1, 384), np.int32)}, r"Bias.shift is of int32, and float32 in this model"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_weights_that_do_not_fit_are_an_error(adapter: Path, change: Callable[[State], State], message: str) -> None:
    """A single number, too, which would otherwise be spread over a whole vector."""
    rewrite(adapter, change(load_file(adapter / "adapter.safetensors")))
    with pytest.raises(SlatError, match=message):
        load(adapter)


def test_an_adapter_of_another_model_is_an_error(adapter: Path, minilm: Backbone, tmp_path: Path) -> None:
    """As when the files in a model's folder have been replaced."""
    shape = {"num_attention_heads": 4, "intermediate_size": 96, "num_hidden_layers": 6}
    hf.BertModel(hf.BertConfig(hidden_size=48, **shape)).save_pretrained(tmp_path / "model")
    minilm.tokenizer.save_pretrained(tmp_path / "model")
    with description_of(adapter) as (description, _):
        description["model"] = {"name": str(tmp_path / "model")}
    with pytest.raises(SlatError, match=r"the weights of the model .* have changed since it was trained"):
        load(adapter)


def test_weights_of_another_adapter_are_said(adapter: Path) -> None:
    """As when one of the two files was copied without the other."""
    weights = load_file(adapter / "adapter.safetensors")
    save_arrays(adapter / "adapter.safetensors", weights | {HEAD: weights[HEAD][::-1].copy()})
    with pytest.raises(SlatError, match=r"adapter\.safetensors: damaged, or of another adapter"):
        load(adapter)


def test_adapters_of_earlier_versions_have_no_digests(adapter: Path) -> None:
    before = load(adapter)(["Chelsea win away"])
    raw = json.loads((adapter / "adapter.json").read_text())
    (adapter / "adapter.json").write_text(json.dumps({n: v for n, v in raw.items() if n not in ("digest", "weights")}))
    save_file(load_file(adapter / "adapter.safetensors"), adapter / "adapter.safetensors")
    assert np.array_equal(load(adapter)(["Chelsea win away"]), before)


def test_a_length_beyond_any_text_is_refused(adapter: Path) -> None:
    with description_of(adapter) as (description, _):
        for task in description["tasks"].values():
            task["max_length"] = 10**19
    with pytest.raises(SlatError, match=r"adapter.json: damaged \(tasks\..*max_length"):
        read_saved(adapter)


def test_weights_far_larger_than_their_structure_are_not_read(adapter: Path) -> None:
    with (adapter / "adapter.safetensors").open("r+b") as file:
        file.truncate(2**31)  # sparse: nothing on the disk
    with pytest.raises(SlatError, match=r"adapter\.safetensors: damaged \(it has 2,147,483,648 bytes, far more than"):
        read_saved(adapter)


def test_outputs_that_are_not_finite_are_no_prediction(adapter: Path) -> None:
    weights = load_file(adapter / "adapter.safetensors")
    rewrite(adapter, weights | {HEAD: np.full_like(weights[HEAD], 3e38)})
    with pytest.raises(SlatError, match="this adapter computes numbers too large for the model"):
        load(adapter)(["Chelsea win away"])


def test_an_adapter_of_many_labels_predicts(adapter: Path) -> None:
    many = 100_000
    weights = load_file(adapter / "adapter.safetensors")
    heads = {HEAD: np.zeros((many, 384), np.float32), "head.bias": np.zeros(many, np.float32)}
    rewrite(adapter, weights | heads)
    with description_of(adapter) as (description, _):
        for task in description["tasks"].values():
            task["labels"] = [f"label {number}" for number in range(many)]
    assert load(adapter)(["Chelsea win away"]).shape == (1, many)
