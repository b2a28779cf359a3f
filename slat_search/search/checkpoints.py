"""Checkpoints of trials: a worker writes one at every rung, and a resumed search reads them.

Ray gives a trial whose worker was lost its last checkpoint. A resumed search is a new experiment to Ray, so the
checkpoints of its unfinished trials are read here and sent to the workers.
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
_CHECKPOINT_PATH = re.compile(r"ray-(\d+)/(trial-\d+)/checkpoint_(\d+)/state\.pt$")
_READ_ERRORS = (OSError, RuntimeError, EOFError, KeyError, ValueError, TypeError, pickle.UnpicklingError)
_MAGIC = b"slat-checkpoint/1 "  # followed by a digest and a line break; files of earlier versions begin with _ZIP
_ZIP = b"PK"
_STORAGE_NAME = re.compile("slat-[0-9a-f]{12}")


def trial_name(number: int) -> str:
    """Return the name of a trial's folder, which is its key in the rungs too."""
    return f"trial-{number:04d}"


@contextmanager
def checkpoint_for(number: int, state: dict[str, Any] | None) -> Iterator[tune.Checkpoint | None]:
    """Yield a checkpoint for ``tune.report``, which copies it; None without a state."""
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
    """Return the state of trial ``number``; None where the checkpoint is damaged or of another trial."""
    if raw.startswith(_MAGIC):
        header, _, raw = raw.partition(b"\n")
        if header != _MAGIC + digest(raw).encode():
            return None
    elif not raw.startswith(_ZIP):
        return None
    try:
        checkpoint = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        return checkpoint["state"] if checkpoint["number"] == number else None
    except _READ_ERRORS:
        return None


def resume_state(number: int, stored_checkpoints: dict[int, bytes]) -> dict[str, Any] | None:
    """Return the state that a trial resumes from: of Ray's checkpoint, else of the stored one; None to start anew."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            path = Path(folder) / _FILE
            state = load_state(number, path.read_bytes()) if path.is_file() else None
        if state is not None:
            return state
        _log.warning(_damage_message(number, checkpoint.path))
    return load_state(number, stored_checkpoints[number]) if number in stored_checkpoints else None


class Storage:
    """Where the trials of one search store their checkpoints: its own folder, or a location that all nodes reach.

    Args:
        folder: of the search.
        location: a folder on a shared file system, or a URI that pyarrow opens (``s3://``, ``gs://``, ``hdfs://``); the
            search gets a folder of its own in it.

    Attributes:
        uri: for Ray's ``storage_path``.
        is_shared: whether workers on other nodes can write there.

    Raises:
        SlatError: the location cannot be opened or written.
    """

    def __init__(self, folder: Path, location: str | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.is_shared = location is not None
        self.uri = str(folder) if location is None else _subfolder(location, _storage_name(folder))
        try:
            self._files, self._root = FileSystem.from_uri(self.uri)
            self._files.create_dir(self._root, recursive=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise SlatError(f"--storage: cannot write to {location or folder}: {str(error).splitlines()[0]}") from error

    @property
    def experiments(self) -> int:
        """Return the number of Ray's experiments, called ``ray-1``, ``ray-2``, ..."""
        return len(self._experiments())

    def is_written_by_all(self) -> bool:
        """Whether all workers can write checkpoints: on one node, or with a shared location."""
        return self.is_shared or sum(node["Alive"] for node in ray.nodes()) == 1

    def find(self, numbers: Collection[int]) -> dict[int, bytes]:
        """Return the last undamaged checkpoint of each trial that has one."""
        checkpoints: dict[int, bytes] = {}
        for number in numbers:
            for path in self._paths_of(number):
                with self._files.open_input_stream(path) as stream:
                    raw = stream.read()
                if load_state(number, raw) is not None:
                    checkpoints[number] = raw
                else:
                    _log.warning(_damage_message(number, path))
        return checkpoints

    def forget(self, number: int) -> None:
        """Remove all checkpoints of a trial."""
        for path in self._paths_of(number):
            self._files.delete_dir(path.rpartition("/")[0])

    def keep_only(self, numbers: Collection[int]) -> None:
        """Remove the checkpoints of all trials but ``numbers``, which a killed search left behind."""
        names = {trial_name(number) for number in numbers}
        for experiment in self._experiments():
            for info in self._list(experiment, recursive=True):
                match = _CHECKPOINT_PATH.search(info.path)
                if match and match[2] not in names:
                    self._files.delete_dir(info.path.rpartition("/")[0])

    def _paths_of(self, number: int) -> list[str]:
        """Return the paths of a trial's checkpoints, oldest first."""
        matches = []
        for experiment in self._experiments():
            for info in self._list(f"{experiment}/{trial_name(number)}", recursive=True):
                match = _CHECKPOINT_PATH.search(info.path)
                if match:
                    matches.append((int(match[1]), int(match[3]), info.path))
        return [path for *_, path in sorted(matches)]

    def _experiments(self) -> list[str]:
        """Return the paths of Ray's experiments."""
        return [info.path for info in self._list(self._root) if info.base_name.startswith("ray-")]

    def _list(self, path: str, recursive: bool = False) -> list[Any]:
        return self._files.get_file_info(FileSelector(path, recursive=recursive, allow_not_found=True))


def _damage_message(number: int, path: str) -> str:
    return f"{path}: damaged, and not used; trial {number} goes on from an earlier checkpoint, or begins anew"


def _storage_name(folder: Path) -> str:
    """Return the name of the search in a shared location, which stays the same when it resumes."""
    path = folder / "storage-name"
    if not path.is_file():
        write_text(path, f"slat-{uuid.uuid4().hex[:12]}")
    name = read_text(path)
    if not _STORAGE_NAME.fullmatch(name):
        raise SlatError(f"{path}: damaged; remove it, and trials that were running begin anew")
    return name


def _subfolder(location: str, name: str) -> str:
    """Return a folder in a path or URI, keeping the options after the ``?`` of a URI."""
    if "://" not in location:
        return str(Path(location).resolve() / name)
    url = urlsplit(location)
    return url._replace(path=f"{url.path.rstrip('/')}/{name}").geturl()


class CheckpointCleanup(tune.Callback):
    """Removes the checkpoints of finished trials, which are not resumed."""

    def __init__(self, storage: Storage):
        self._storage = storage

    def on_trial_complete(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._storage.forget(trial.config["number"])
