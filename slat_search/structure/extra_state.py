"""Extra state of modules, packed into a tensor so that formats for weights alone (safetensors) can hold it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import SlatError


def pack(values: Mapping[str, Any]) -> Tensor:
    """Return plain values and tensors as bytes, (bytes,) of uint8."""
    file = io.BytesIO()
    torch.save(dict(values), file)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def unpack(packed: Tensor) -> dict[str, Any]:
    """Inverse of :func:`pack`, on the CPU."""
    return torch.load(io.BytesIO(packed.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)


def supernet_state(state: Tensor | Mapping[str, Any], kind: str, atoms: Tensor, settled: bool) -> dict[str, Any]:
    """Return the extra state of a supernet that another one can shrink to.

    Args:
        state: packed; checkpoints of earlier versions hold plain values, without the kind of gates.
        kind: kind of gates of the supernet that loads the state.
        atoms: (atoms,) numbers of that supernet's atoms.
        settled: whether that supernet's search has ended.

    Raises:
        SlatError: gates of another kind, or atoms that the loading supernet has removed.
    """
    values = unpack(state) if isinstance(state, Tensor) else {"kind": kind, **state}
    if values["kind"] != kind:
        raise SlatError(f"structure: the state is of gates of kind {values['kind']!r}, not {kind!r}")
    is_subset = torch.isin(values["standing"].to(atoms.device), atoms).all()
    if not is_subset or (settled and not values["settled"]):
        raise SlatError(
            "structure: the state is of a supernet with candidates that have left this one; load it into a fresh one"
        )
    return values
