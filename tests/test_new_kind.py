"""A new kind of module, or of gates, is one class and one entry: written into a copy of the package, both go through a
whole run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

import slat_search
from tests.conftest import small_config
from tests.whole import finish, start

CLASS = '''
import torch
from torch import nn

from .site_module import SiteModule


class Gain(SiteModule):
    """One number that scales a site's output."""

    unit_dims = {"gain": 0}
    foldable = ("gain",)

    def __init__(self, site, sizes, options):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x, y, gate):
        return y * (1 + (self.gain if gate is None else self.gain * gate))
'''
ENTRY = """
        Kind(
            "gain",
            "gain:Gain",
            unit_cost=lambda site: 1,
            fits=lambda site: site.is_sublayer_output,
            size=1,
            sized=False,
            label="gain of a sublayer",
            color="#123456",
        ),
"""
GATES_CLASS = '''
from .saliency import Saliency


class Forgetful(Saliency):
    """Saliency that soon forgets."""

    def __init__(self, costs, crowd, blocks, options):
        super().__init__(costs, crowd, blocks, options)
        self.smoothing = 0.5
'''
GATES_ENTRY = """
        GateKind("forgetful", "forgetful:Forgetful", measured=True),
"""


def add_entry(registry: Path, behind: str, entry: str) -> None:
    before = registry.read_text()
    registry.write_text(before.replace(f"{behind}\n", f"{behind}\n{entry.lstrip(chr(10))}"))
    assert registry.read_text() != before


@pytest.mark.slow
def test_a_new_kind_is_searched_trained_and_drawn(tmp_path: Path) -> None:
    package = tmp_path / "code" / "slat_search"
    shutil.copytree(Path(slat_search.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "structure" / "gain.py").write_text(CLASS)
    (package / "structure" / "gates" / "forgetful.py").write_text(GATES_CLASS)
    add_entry(package / "structure" / "kinds.py", "_BUILTIN = (", ENTRY)
    add_entry(package / "structure" / "gate_kinds.py", "    for kind in (", GATES_ENTRY)

    raw = yaml.safe_load(small_config(name="gain", seeds=1).to_yaml())
    raw["gates"]["kind"] = "forgetful"
    raw["space"]["kinds"] = {"gain": {"size": 1}, "bias": {"size": 1}}
    raw["search"] |= {"trials": 2, "num_selected": 1, "refit_learning_rates": [0.01]}
    raw["baselines"] = ["head"]
    raw["evaluation"]["ratios"] = [0.2]
    config = tmp_path / "gain.yaml"
    config.write_text(yaml.safe_dump(raw))
    out = tmp_path / "run"
    # Ray's workers look into the folder that a run starts in before they look into PYTHONPATH
    finish(start(config, out, cwd=package.parent, PYTHONPATH=str(package.parent)))

    structures = [json.loads(path.read_text()) for path in (out / "structures").glob("slat-*.json")]
    result = [module for structure in structures for module in structure["modules"] if module["kind"] == "gain"]
    assert result
    assert all((module["size"], module["params"]) == (1, 1) for module in result)
    assert pd.read_csv(out / "results.csv")["method"].str.startswith("slat").any()
    page = (out / "report.html").read_text()
    assert ".unit-gain { fill: #123456; background: #123456; }" in page
    assert '<i class="unit-gain"></i>gain of a sublayer' in page
    assert '<rect class="unit-gain"' in page
    assert "1 gain of a sublayer" in page
