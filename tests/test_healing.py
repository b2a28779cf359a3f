"""What was damaged in a run is made again when the run is resumed, and comes to the same tables."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.whole import assert_same, finish, start


def flip(path: Path, rng: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)


@pytest.mark.slow
def test_damaged_trainings_and_tests_are_made_again(run: tuple[Path, str], config: Path, tmp_path: Path) -> None:
    folder, rng = tmp_path / "small", random.Random(0)
    shutil.copytree(run[0], folder)
    units = sorted((folder / "units").iterdir())
    weights = [path for path in units if path.suffix == ".safetensors" and not path.name.endswith(".test.safetensors")]
    tests = [path for path in units if path.name.endswith(".test.safetensors")]
    flip(weights[0], rng)
    weights[1].write_bytes(b"")
    flip(tests[-1], rng)
    tests[-2].with_suffix(".json").write_bytes(b"")
    weights[2].with_suffix(".train.json").write_text("{")
    for name in ("results.csv", "report.html", "done.json", "figures/pareto.png", "adapters/best.json"):
        (folder / name).write_bytes(b"")
    output = finish(start(config, folder, "--resume"))
    assert output.count("it is made again") >= 5
    for name in ("trials.csv", "results.csv", "comparison.csv", "perturbation.csv"):
        assert_same(folder, run[0], name)
    for name in ("report.html", "done.json", "figures/pareto.png", "adapters/best.json"):
        assert (folder / name).stat().st_size == pytest.approx((run[0] / name).stat().st_size, rel=0.1)
