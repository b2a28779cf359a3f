"""What an export cannot hold, or will not write over."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file
from torch import nn

from slat_search import SlatError
from slat_search.cli import main
from slat_search.export import export
from slat_search.training.context import Context
from tests.export.folders import saved, saved_baseline

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
