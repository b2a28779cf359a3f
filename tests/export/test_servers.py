"""Exports within the limits of servers of LoRA, vLLM and TGI: one rank, one alpha, and nothing that is saved whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as hf
from click.testing import CliRunner
from safetensors.numpy import load_file
from torch import nn

from slat_search import load
from slat_search.cli import main
from slat_search.export import export
from tests.conftest import TEXTS
from tests.export.test_other_models import gpt2, llama
from tests.structure.test_families import GROUPED


def grouped() -> nn.Module:
    return hf.LlamaModel(hf.LlamaConfig(**{**GROUPED, "vocab_size": 30522, "num_hidden_layers": 3}))


@pytest.mark.parametrize("task_type", [None, "CAUSAL_LM", "FEATURE_EXTRACTION"])
def test_one_rank_for_servers(small: Callable[..., Path], tmp_path: Path, task_type: str | None) -> None:
    """`r` and `lora_alpha` alone say how to compute, as vLLM and TGI do, and every projection stands in all blocks."""
    folder = small(grouped, "lora", "spectral", pooling="last")
    exported = export(folder, tmp_path / "out", "peft", task_type=task_type, uniform_rank=True)
    assert exported.task_type == (task_type or "CAUSAL_LM")
    raw = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (raw["rank_pattern"], raw["alpha_pattern"], raw["modules_to_save"]) == ({}, {}, None)
    assert (raw["bias"], raw["lora_bias"], raw["use_dora"]) == ("none", False, False)
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    places = {name.removesuffix(".lora_A.weight") for name in weights if name.endswith("lora_A.weight")}
    assert 2 * len(places) == len(weights)
    inner = {place.partition(".layers.")[2].partition(".")[2] for place in places}
    start = "base_model.model.model." if exported.task_type == "CAUSAL_LM" else "base_model.model."
    assert places == {f"{start}layers.{number}.{name}" for number in range(3) for name in inner}
    assert {name.split(".")[-1] for name in inner} == set(raw["target_modules"])
    assert {len(weights[f"{place}.lora_A.weight"]) for place in places} == {raw["r"]}

    base = hf.LlamaModel.from_pretrained(tmp_path / "model").eval()
    for place in places:  # as a server computes it, by name, from what the configuration says
        layer = base.get_submodule(place.removeprefix(start))
        update = weights[f"{place}.lora_B.weight"] @ weights[f"{place}.lora_A.weight"] * (raw["lora_alpha"] / raw["r"])
        layer.weight.data += torch.from_numpy(update)
    predictor = load(folder)
    batch = hf.AutoTokenizer.from_pretrained(tmp_path / "model")(
        list(TEXTS), return_tensors="pt", padding=True, return_token_type_ids=False
    )
    with torch.inference_mode():
        expected = predictor.model.backbone(**batch).last_hidden_state
        torch.testing.assert_close(base(**batch).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "kinds", "why"),
    [(llama, ("lora", "bias"), "read no bias shifts"), (gpt2, ("lora", "norm"), "no module that was trained whole")],
)
def test_what_servers_do_not_read_is_refused(
    small: Callable[..., Path], tmp_path: Path, make: Callable[[], nn.Module], kinds: tuple[str, ...], why: str
) -> None:
    folder = small(make, *kinds, pooling="last")
    command = ["export", str(folder), "--out", str(tmp_path / "out"), "--format", "peft", "--uniform-rank"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert why in result.stderr
    result = CliRunner().invoke(main, [*command, "--task-type", "seq_cls"])
    assert "servers of LoRA read no head" in result.stderr
    result = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out"), "--uniform-rank"])
    assert "--uniform-rank: is for `--format peft`" in result.stderr
    assert not (tmp_path / "out").exists()
