"""Checkpoints of trials: a worker writes one at every rung, and whoever goes on with the search finds it again.

Ray gives a trial whose worker was lost its last checkpoint. A search that is started again is an experiment of its own
to Ray, so the checkpoints of the trials that it goes on with are read here and sent along.
"""

from __future__ import annotations

import io
import logging
import pickle
import re
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow
import ray
import torch
from pyarrow.fs import FileSelector, FileSystem
from ray import tune
from ray.tune.experiment import Trial as RayTrial

from ..errors import SlatError
from ..files import digest, read_text, write_text

_log = logging.getLogger(__name__)
_FILE = "state.pt"
_PLACE = re.compile(r"ray-(\d+)/(trial-\d+)/checkpoint_(\d+)/state\.pt$")
_DAMAGED = (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, pickle.UnpicklingError)
_MAGIC = b"slat-checkpoint/1 "  # a digest follows, and a line break; files of earlier versions begin with the next
_ZIP = b"PK"
_NAME = re.compile("slat-[0-9a-f]{12}")


def trial_name(number: int) -> str:
    """Name of a trial's folder and its key in the rungs."""
    return f"trial-{number:04d}"


@contextmanager
def checkpoint_for(number: int, state: dict[str, Any] | None) -> Iterator[tune.Checkpoint | None]:
    """A checkpoint for ``tune.report``, which copies it; None where there is nothing to save."""
    if state is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        file = io.BytesIO()
        torch.save({"number": number, "state": state}, file)
        content = file.getvalue()
        (Path(folder) / _FILE).write_bytes(_MAGIC + digest(content).encode() + b"\n" + content)
        yield tune.Checkpoint.from_directory(folder)


def load_state(number: int, raw: bytes) -> dict[str, Any] | None:
    """State of trial ``number``; None where the checkpoint is damaged or that of another trial."""
    if raw.startswith(_MAGIC):
        first, _, raw = raw.partition(b"\n")
        if first != _MAGIC + digest(raw).encode():
            return None
    elif not raw.startswith(_ZIP):
        return None
    try:
        checkpoint = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        return checkpoint["state"] if checkpoint["number"] == number else None
    except _DAMAGED:
        return None


def resume_state(number: int, on_disk: dict[int, bytes]) -> dict[str, Any] | None:
    """Return the checkpoint that a trial resumes from: Ray's, else the one on disk; None to begin."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            path = Path(folder) / _FILE
            state = load_state(number, path.read_bytes()) if path.is_file() else None
        if state is not None:
            return state
        _log.warning(_passed_over(number, checkpoint.path))
    return load_state(number, on_disk[number]) if number in on_disk else None


class Storage:
    """Where the trials of one search leave their checkpoints: its own folder, or a place that all nodes reach.

    Args:
        folder: of the search.
        place: a folder on a shared file system, or a URI that pyarrow opens (``s3://``, ``gs://``, ``hdfs://``); the
            search gets a folder of its own in it.

    Attributes:
        uri: what Ray's ``storage_path`` takes.
        is_shared: whether workers on other nodes can write there.

    Raises:
        SlatError: the place cannot be opened or written.
    """

    def __init__(self, folder: Path, place: str | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.is_shared = place is not None
        self.uri = str(folder) if place is None else _within(place, _name_of(folder))
        try:
            self._files, self._root = FileSystem.from_uri(self.uri)
            self._files.create_dir(self._root, recursive=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise SlatError(f"--storage: cannot write to {place or folder}: {str(error).splitlines()[0]}") from error

    @property
    def experiments(self) -> int:
        """Return the number of Ray's experiments, called ``ray-1``, ``ray-2``, ..."""
        return len(self._experiments())

    def is_written_by_all(self) -> bool:
        """Whether checkpoints can be kept: on one node, or in a place that was given for several."""
        return self.is_shared or sum(node["Alive"] for node in ray.nodes()) == 1

    def find(self, numbers: Collection[int]) -> dict[int, bytes]:
        """Return the last undamaged checkpoint of each trial, if any."""
        checkpoints: dict[int, bytes] = {}
        for number in numbers:
            for path in self._of(number):
                with self._files.open_input_stream(path) as stream:
                    raw = stream.read()
                if load_state(number, raw) is not None:
                    checkpoints[number] = raw
                else:
                    _log.warning(_passed_over(number, path))
        return checkpoints

    def forget(self, number: int) -> None:
        """Remove all checkpoints of a trial."""
        for path in self._of(number):
            self._files.delete_dir(path.rpartition("/")[0])

    def keep_only(self, numbers: Collection[int]) -> None:
        """Remove the checkpoints of all other trials, which a killed search left behind."""
        names = {trial_name(number) for number in numbers}
        for experiment in self._experiments():
            for info in self._list(experiment, recursive=True):
                place = _PLACE.search(info.path)
                if place and place[2] not in names:
                    self._files.delete_dir(info.path.rpartition("/")[0])

    def _of(self, number: int) -> list[str]:
        """Paths of a trial's checkpoints, oldest first."""
        places = []
        for experiment in self._experiments():
            for info in self._list(f"{experiment}/{trial_name(number)}", recursive=True):
                place = _PLACE.search(info.path)
                if place:
                    places.append((int(place[1]), int(place[3]), info.path))
        return [path for *_, path in sorted(places)]

    def _experiments(self) -> list[str]:
        """Paths of Ray's experiments."""
        return [info.path for info in self._list(self._root) if info.base_name.startswith("ray-")]

    def _list(self, path: str, recursive: bool = False) -> list[Any]:
        return self._files.get_file_info(FileSelector(path, recursive=recursive, allow_not_found=True))


def _passed_over(number: int, path: str) -> str:
    return f"{path}: damaged, and not used; trial {number} goes on from an earlier checkpoint, or begins anew"


def _name_of(folder: Path) -> str:
    """Return a name for the search in a shared place, the same when it resumes."""
    path = folder / "storage-name"
    if not path.is_file():
        write_text(path, f"slat-{uuid.uuid4().hex[:12]}")
    name = read_text(path)
    if not _NAME.fullmatch(name):
        raise SlatError(f"{path}: damaged; remove it, and trials that were running begin anew")
    return name


def _within(place: str, name: str) -> str:
    """A folder in a path or URI; what follows a ``?`` in a URI are options."""
    if "://" not in place:
        return str(Path(place).resolve() / name)
    parts = urlsplit(place)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl()


class CheckpointCleanup(tune.Callback):
    """Removes the checkpoints of finished trials, from which nothing resumes."""

    def __init__(self, storage: Storage):
        self._storage = storage

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._storage.forget(trial.config["number"])
