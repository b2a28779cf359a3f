"""Which checkpoint a search goes on from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slat_search.tuning.checkpoints import find, loaded, trial_name, written


def write(folder: Path, experiment: int, number: int, step: int) -> Path:
    """A checkpoint as Ray leaves it; later ones are younger."""
    place = folder / f"ray-{experiment}" / trial_name(number) / f"checkpoint_{step:06d}"
    place.mkdir(parents=True)
    with written(number, {"step": step, "weights": torch.arange(3)}) as checkpoint:
        assert checkpoint is not None
        raw = (Path(checkpoint.path) / "state.pt").read_bytes()
    path = place / "state.pt"
    path.write_bytes(raw)
    os.utime(path, (step, step))
    return path


def step(raw: bytes, number: int) -> int:
    state = loaded(number, raw)
    assert state is not None
    return state["step"]


def test_the_last_one_of_any_experiment_of_the_search(tmp_path: Path) -> None:
    for experiment, at in ((1, 45), (2, 90)):
        write(tmp_path, experiment, 3, at)
    found = find(tmp_path, [2, 3])
    assert list(found) == [3]  # trial 2 has none and begins anew
    assert step(found[3], 3) == 90


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"garbage" * 99])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    old, new = write(tmp_path, 1, 3, 45), write(tmp_path, 1, 3, 90)
    new.write_bytes(damage(new.read_bytes()))
    os.utime(new, (90, 90))
    assert step(find(tmp_path, [3])[3], 3) == 45
    old.write_bytes(damage(old.read_bytes()))
    assert find(tmp_path, [3]) == {}


def test_that_of_another_trial_is_none(tmp_path: Path) -> None:
    assert loaded(4, write(tmp_path, 1, 3, 45).read_bytes()) is None


def test_nothing_to_save() -> None:
    with written(0, None) as checkpoint:
        assert checkpoint is None
