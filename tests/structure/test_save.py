"""A trained adapter in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from slat_search.structure import (
    KINDS,
    Site,
    Structure,
    attach,
)
from tests.structure.test_kinds import shake

IN_ANOTHER_PROCESS = """
import sys, torch
from safetensors.torch import load_file, save_file
from slat_search import Structure, attach
from slat_search.models.backbone import load_backbone
folder = sys.argv[1]
torch.set_num_threads(2)
model = load_backbone("minilm").model.eval()
adapter = attach(model, Structure.load(f"{folder}/structure.json"))
adapter.load_state_dict(load_file(f"{folder}/weights.safetensors"))
with torch.no_grad():
    output = model(**load_file(f"{folder}/batch.safetensors")).last_hidden_state
save_file({"output": output}, f"{folder}/output.safetensors")
"""


def test_saved_and_loaded_in_a_new_process_gives_the_same_output_bit_for_bit(
    backbone: nn.Module, batch: dict[str, Tensor], sites: tuple[Site, ...], tmp_path: Path
) -> None:
    whole = Structure()
    for kind in KINDS:
        whole |= Structure.at(sites, kind, 2 if KINDS[kind].sized else 1)
    structure = whole.random_part(60_000, seed=0)
    assert len({m.kind for m in structure.modules}) == len(KINDS)
    adapter = attach(backbone, structure)
    shake(adapter)
    with torch.no_grad():
        output = backbone(**batch).last_hidden_state
    structure.save(tmp_path / "structure.json")
    save_file(adapter.state_dict(), tmp_path / "weights.safetensors")
    save_file(batch, tmp_path / "batch.safetensors")
    adapter.detach()
    subprocess.run([sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path)], check=True)
    assert torch.equal(load_file(tmp_path / "output.safetensors")["output"], output)
