"""Our Houlsby and Pfeiffer adapters against the ``adapters`` library with the same weights.

It wants an older ``transformers`` than we do, so it runs in an environment of its own: ``make test-side-by-side``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from slat_search.models.registry import model_path
from slat_search.structure import Site, Structure, attach

STRUCTURES = {"houlsby": Structure.houlsby, "pfeiffer": Structure.pfeiffer}


@pytest.fixture(scope="module")
def reference(batch: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    save_file(batch, folder / "batch.safetensors")
    script = Path(__file__).with_name("reference.py")
    command = [os.environ["ADAPTERS_PYTHON"], str(script), model_path("minilm"), str(folder / "batch.safetensors")]
    subprocess.run([*command, str(folder)], check=True, cwd=folder)
    return folder


@pytest.mark.side_by_side
@pytest.mark.parametrize("name", STRUCTURES)
def test_same_weights_same_output(
    backbone: nn.Module, batch: dict[str, Tensor], sites: tuple[Site, ...], reference: Path, name: str
) -> None:
    theirs = load_file(reference / f"{name}.safetensors")
    expected = theirs.pop("output")
    bare = backbone(**batch).last_hidden_state
    adapter = attach(backbone, STRUCTURES[name](sites, 8))
    used = set()
    with torch.no_grad():
        for site in adapter.site_adapters():
            prefix = f"{site.site.name.removesuffix('.dense')}.adapters.{name}.adapter_"
            serial, bias = site.parts["Serial"], site.parts["Bias"]
            for parameter, key in (
                (serial.down, "down.0.weight"),
                (serial.hidden_bias, "down.0.bias"),
                (serial.up, "up.weight"),
                (bias.shift[0], "up.bias"),
            ):
                parameter.copy_(theirs[prefix + key])
                used.add(prefix + key)
        output = backbone(**batch).last_hidden_state
    adapter.detach()
    assert used == set(theirs)
    assert not torch.allclose(expected, bare, atol=1e-2)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
