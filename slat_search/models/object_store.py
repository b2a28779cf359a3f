"""Convert a frozen model to arrays and back: in Ray's object store all workers of a node share the arrays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Packed:
    """A frozen model whose weights are NumPy arrays, which Ray maps into each process without copying them.

    Attributes:
        kind: class of the model.
        config: configuration of the model.
        children: names of its modules; further modules that the class creates were removed from it.
        arrays: name -> bytes, type and shape of a tensor: of parameters, buffers and other tensors of modules.
    """

    kind: type[PreTrainedModel]
    config: object
    children: tuple[str, ...]
    arrays: dict[str, tuple[np.ndarray, torch.dtype, tuple[int, ...]]]


def packed(model: PreTrainedModel) -> Packed:
    """Pack a frozen model; weights on a CPU are not copied."""
    arrays = {}
    for name, tensor in _tensors(model):
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        arrays[name] = (flat.numpy(), tensor.dtype, tuple(tensor.shape))
    return Packed(type(model), model.config, tuple(dict(model.named_children())), arrays)


def unpacked(packed_model: Packed) -> PreTrainedModel:
    """Return the model on the arrays, without a copy. They may be shared: nothing may be written into its weights."""
    with torch.device("meta"):  # without memory or random numbers for weights that are replaced at once
        model = packed_model.kind(packed_model.config)
    for name in dict(model.named_children()).keys() - set(packed_model.children):
        setattr(model, name, None)
    modules = dict(model.named_modules())
    for name, (array, dtype, shape) in packed_model.arrays.items():
        owner, _, leaf = name.rpartition(".")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            tensor = torch.from_numpy(array).view(dtype).reshape(shape)
        module = modules[owner]
        if leaf in module._parameters:
            module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
        elif leaf in module._buffers:
            module._buffers[leaf] = tensor
        else:
            setattr(module, leaf, tensor)
    missing_names = [name for name, tensor in _tensors(model) if tensor.is_meta]
    if missing_names:
        raise RuntimeError(f"tensors of the model were not packed: {', '.join(missing_names)}")
    return model.eval()


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors of a model by name, also those that ``state_dict`` leaves out."""
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for tensors in (module._parameters, module._buffers, vars(module)):
            for name, value in tensors.items():
                if isinstance(value, Tensor):
                    yield prefix + name, value
