"""Checkpoints of trials: a worker writes one at every rung, and whoever goes on with the search finds it again.

Ray gives a trial whose worker was lost its last checkpoint. A search that is started again is an experiment of its own
to Ray, so the checkpoints of the trials that it goes on with are read here and sent along.
"""

from __future__ import annotations

import io
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.experiment import Trial as RayTrial

_FILE = "state.pt"
_DAMAGED = (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError)


def trial_name(number: int) -> str:
    """Name of a trial's folder and its key in the rungs."""
    return f"trial-{number:04d}"


@contextmanager
def written(number: int, state: dict[str, Any] | None) -> Iterator[tune.Checkpoint | None]:
    """A checkpoint for ``tune.report``, which copies it; None where there is nothing to save."""
    if state is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"number": number, "state": state}, Path(folder) / _FILE)
        yield tune.Checkpoint.from_directory(folder)


def loaded(number: int, raw: bytes) -> dict[str, Any] | None:
    """State of trial ``number``; None where the checkpoint is damaged or that of another trial."""
    try:
        kept = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        return kept["state"] if kept["number"] == number else None
    except _DAMAGED:
        return None


def given(number: int, found: dict[int, bytes]) -> dict[str, Any] | None:
    """What a trial goes on from: the checkpoint that Ray gives it, else the one that was found; None to begin."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state = loaded(number, (Path(folder) / _FILE).read_bytes())
        if state is not None:
            return state
    return loaded(number, found[number]) if number in found else None


def find(folder: Path, numbers: list[int]) -> dict[int, bytes]:
    """The last whole checkpoint of each of some trials in a search's folder, as far as there are any."""
    found: dict[int, bytes] = {}
    for number in numbers:
        for path in sorted(folder.glob(f"ray-*/{trial_name(number)}/checkpoint_*/{_FILE}"), key=_age):
            raw = path.read_bytes()
            if loaded(number, raw) is not None:
                found[number] = raw
    return found


def _age(path: Path) -> float:
    return path.stat().st_mtime


class Forget(tune.Callback):
    """Removes the checkpoints of trials that are over: nothing goes on from them, and they are many.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        for path in self._folder.glob(f"ray-*/{trial_name(trial.config['number'])}/checkpoint_*"):
            shutil.rmtree(path, ignore_errors=True)
