"""What an export cannot hold, or will not write over."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file
from torch import nn

from slat_search import SlatError
from slat_search.cli import main
from slat_search.export import export, forms
from slat_search.training.context import Context
from tests.export.folders import rewrite, saved, saved_baseline

REFUSED = [
    ("merged", ("lora", "serial"), r"this adapter's serial cannot be merged .*kinds: \[spectral\+lora"),
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
    result = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out"), "--format", form])
    assert result.exit_code == 2
    assert re.search(why, result.output)
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_a_bare_head_is_the_model_itself(context: Context, backbone: nn.Module, tmp_path: Path) -> None:
    folder = saved(context, backbone, tmp_path / "adapter")
    result = CliRunner().invoke(main, ["export", str(folder), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "README.md" in result.output
    again = load_file(tmp_path / "out" / "model.safetensors")
    assert all(np.array_equal(again[name], value.numpy()) for name, value in backbone.state_dict().items())


def test_nothing_is_written_over(context: Context, backbone: nn.Module, tmp_path: Path) -> None:
    folder = saved(context, backbone, tmp_path / "adapter", "lora")
    with pytest.raises(SlatError, match="is not an empty folder"):
        export(folder, folder, "merged")
    with pytest.raises(SlatError, match=r"adapter\.json: no such file"):
        export(tmp_path, tmp_path / "out", "merged")


@pytest.mark.parametrize("method", ["prefix", "unipelt"])
def test_a_method_that_no_library_can_hold_is_refused(
    context: Context, backbone: nn.Module, tmp_path: Path, method: str
) -> None:
    folder = saved_baseline(context, backbone, tmp_path / "adapter", method, size=2)
    with pytest.raises(SlatError, match=f"holds '{method}', which no other library can hold"):
        export(folder, tmp_path / "out", "merged")


def test_a_head_beside_the_model_is_compared(
    context: Context, backbone: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(context, backbone, tmp_path / "adapter", "lora")
    write = forms.save_file
    monkeypatch.setattr(forms, "save_file", lambda head, path: write({n: v + 1e-6 for n, v in head.items()}, path))
    with pytest.raises(SlatError, match=r"the head in .*head\.safetensors is not that of the adapter"):
        export(folder, tmp_path / "out", "merged", task_type="FEATURE_EXTRACTION")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda head: head * np.nan, "head.weight holds NaN or infinity"),
        (lambda head: head[:, :1].copy(), r"weight has shape \(5, 1\), and \(5, 384\) in this model"),
        (lambda head: head.astype(np.int64), "weight is of int64, and float32 in this model"),
    ],
)
def test_a_head_that_is_damaged_is_not_exported(
    context: Context, backbone: nn.Module, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], why: str
) -> None:
    folder = saved(context, backbone, tmp_path / "adapter", "lora")
    state = load_file(folder / "adapter.safetensors")
    rewrite(folder, state | {"head.weight": change(state["head.weight"])})
    with pytest.raises(SlatError, match=why):
        export(folder, tmp_path / "out", "merged")
