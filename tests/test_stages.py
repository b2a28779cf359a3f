"""The stages of a run alone, through the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from slat_search.structure import Structure
from tests.whole import assert_same, finish, start

TABLES = ("trials.csv", "history.csv", "results.csv", "perturbation.csv", "robustness.csv")


def found(folder: Path) -> dict[str, int]:
    """Digest of each structure in the folder -> its parameters."""
    paths = (folder / "structures").glob("slat-*.json")
    structures = [Structure.from_dict(json.loads(path.read_text())) for path in paths]
    return {structure.digest: structure.params for structure in structures}


@pytest.mark.slow
def test_a_stage_takes_what_is_there_and_shows_it(run: tuple[Path, str], config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(run[0], out)
    for path in {out / "done.json", *out.glob("units/*.test.*"), *out.glob("units/slat*")}:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("units/*")}
    said = finish(start(config, out, "--resume", command="search"))
    assert found(out) == found(run[0])
    for params in found(out).values():
        assert f" {params:,} " in said
    said = finish(start(config, out, "--resume", command="baselines"))
    trained = pd.read_csv(out / "results.csv")
    for name in ("LoRA r=2", "linear head"):
        mean = trained[trained["name"] == name]["validation"].mean()
        assert re.search(rf"{name} .* {mean:.3f}", said)
    assert "nothing was tested. `slat run CONFIG --resume` does the rest." in said
    assert found(out) == found(run[0])  # those of the search are there still
    assert {path: path.stat().st_mtime_ns for path in out.glob("units/*")} == kept  # nothing was trained or tested
    assert not (out / "done.json").exists()


@pytest.mark.slow
def test_a_run_in_stages_ends_as_a_run_at_once(run: tuple[Path, str], config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = finish(start(config, out, command="baselines"))
    assert "LoRA r=2" in said
    assert not (out / "search").exists()
    finish(start(config, out, "--resume", command="search"))
    assert found(out)
    assert not (out / "results.csv").exists()
    assert not list(out.glob("units/*.test.json"))
    finish(start(config, out, "--resume"))
    for name in TABLES:
        assert_same(run[0], out, name)
