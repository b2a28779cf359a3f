"""State of modules beside their weights, as a tensor, so that file formats of weights alone (safetensors) take it."""

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
        kind: of the other one's gates.
        atoms: (atoms,) numbers of its atoms.
        settled: whether its search has ended.

    Raises:
        SlatError: gates of another kind, or atoms that the other one has removed.
    """
    values = unpack(state) if isinstance(state, Tensor) else {"kind": kind, **state}
    if values["kind"] != kind:
        raise SlatError(f"structure: the state is of gates of kind {values['kind']!r}, not {kind!r}")
    known = torch.isin(values["standing"].to(atoms.device), atoms).all()
    if not known or (settled and not values["settled"]):
        raise SlatError(
            "structure: the state is of a supernet with candidates that have left this one; load it into a fresh one"
        )
    return values
