"""Save a headless adapter as one file: weights, with their structure in the file's metadata."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..baselines import load_module
from ..errors import SlatError
from ..files import DIGEST, check_regular, whole_file
from ..structure import Adapter, Structure, attach
from ..structure.attachment import REGISTERED
from ..structure.extra_state import unpack
from ..training.digests import tensors_digest

FILE_NAME = "adapter.safetensors"
_FORMAT = "slat-weights/1"
_EXTRA_STATE_KEY = f"{REGISTERED}._extra_state"


def save_adapter(adapter: Adapter, path: str | PathLike[str]) -> Path:
    """Write an adapter as a safetensors file, or as ``adapter.safetensors`` into a folder, and return its path.

    Args:
        adapter: adapter of one task, without gates, as :func:`.attach` and :meth:`.Supernet.discretize` return it.
        path: path of a file if it ends in ``.safetensors``, else of a folder.
    """
    path = Path(path)
    file = path if path.suffix == ".safetensors" else path / FILE_NAME
    weights = {name: value.detach().cpu().contiguous() for name, value in adapter.state_dict().items()}
    structure = adapter.structure.to_json()
    metadata = {"format": _FORMAT, "structure": structure, DIGEST: tensors_digest(weights, structure)}
    with whole_file(file) as part:
        save_file(weights, part, metadata=metadata)
    return file


def load_adapter(backbone: nn.Module, path: str | PathLike[str]) -> Adapter:
    """Attach a saved adapter to the model that it was trained on.

    Args:
        backbone: the model that the supernet was attached to, without an adapter.
        path: file or folder of :func:`save_adapter`, or a folder that a ``Trainer`` wrote after a finished search, with
            the adapter among the weights of the model.

    Raises:
        SlatError: no adapter there, a damaged file, or an adapter that does not fit the model.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME if (path / FILE_NAME).is_file() else path
    check_regular(path)
    try:
        structure, weights = _read_model(path) if path.is_dir() else _read_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise SlatError(f"adapter {path}: it cannot be read ({error})") from error
    adapter = attach(backbone, structure)
    try:
        load_module(adapter, weights)
    except SlatError as error:
        adapter.detach()
        raise SlatError(f"adapter {path}: its weights do not fit its structure ({error})") from error
    return adapter


def _read_file(path: Path) -> tuple[Structure, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != _FORMAT:
            raise SlatError(f"adapter {path}: format {metadata.get('format')!r} is not {_FORMAT!r}")
    weights, structure = load_file(path), metadata.get("structure", "")
    if DIGEST in metadata and metadata[DIGEST] != tensors_digest(weights, structure):
        raise SlatError(f"adapter {path}: damaged (its digest is not that of its content)")
    return Structure.from_json(structure), weights


def _read_model(folder: Path) -> tuple[Structure, dict[str, Tensor]]:
    """Read an adapter from among the weights of a model, in one file or several."""
    tensors = dict(_supernet_tensors(sorted(folder.glob("*.safetensors"))))
    extra = next((value for name, value in tensors.items() if name.endswith(_EXTRA_STATE_KEY)), None)
    if extra is None:
        raise SlatError(f"adapter {folder}: no {FILE_NAME} there, and no model with a supernet")
    structure = _unpack_extra_state(extra, folder).get("structure")
    if structure is None:
        raise SlatError(f"adapter {folder}: its search had not ended; continue it with resume_from_checkpoint")
    prefix = f"{REGISTERED}.adapter."
    weights = {name.partition(prefix)[2]: value for name, value in tensors.items() if prefix in name}
    return Structure.unpack(structure), weights


def _unpack_extra_state(extra: Tensor, folder: Path) -> dict[str, Any]:
    """Return the extra state of the supernet in a model's weights."""
    try:
        return unpack(extra)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, UnpicklingError) as error:
        detail = next(iter(str(error).splitlines()), type(error).__name__)
        raise SlatError(f"adapter {folder}: damaged (what it says of its search: {detail})") from error


def _supernet_tensors(files: Sequence[Path]) -> Iterator[tuple[str, Tensor]]:
    for path in files:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            yield from ((name, file.get_tensor(name)) for name in names if f"{REGISTERED}." in name)
