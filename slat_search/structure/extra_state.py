"""What a state dict holds beside weights, as a tensor: file formats of weights alone (safetensors) then take it too."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def pack(values: Mapping[str, Any]) -> Tensor:
    """Return plain values and tensors as bytes, (bytes,) of uint8."""
    file = io.BytesIO()
    torch.save(dict(values), file)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def unpack(packed: Tensor) -> dict[str, Any]:
    """Return what :func:`pack` took, on the CPU."""
    return torch.load(io.BytesIO(packed.cpu().numpy().tobytes()), map_location="cpu", weights_only=True)
