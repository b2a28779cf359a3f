"""Frozen weights in 4 or 8 bits, through the bitsandbytes library."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import nn

from ..errors import SlatError
from ..structure import find_blocks
from ..structure.few_bits import keep_differentiable

QUANTIZED = ("nf4", "int8")
#: ``model.weights`` -> the type that weights are loaded in and digests are of
LOADED_AS = {"float32": "float32", "bfloat16": "bfloat16", "nf4": "bfloat16", "int8": "bfloat16"}


def check_quantized(weights: str) -> None:
    """Check for bitsandbytes.

    Raises:
        SlatError: it is not.
    """
    if weights in QUANTIZED and importlib.util.find_spec("bitsandbytes") is None:
        raise SlatError(f"model.weights: {weights} needs `pip install bitsandbytes`")


@torch.no_grad()
def quantize(model: nn.Module, weights: str) -> None:
    """Replace the linear layers of the blocks by those of bitsandbytes, in place. What is quantized already stays.

    ``nf4``: 4-bit NormalFloat with doubly quantized constants (Dettmers et al. 2023, arXiv 2305.14314). ``int8``: 8
    bits with outliers in 16 (Dettmers et al. 2022, arXiv 2208.07339). Singular directions that a module asks for later
    are those of the weights before, so that an adapter fits the model as it was published, too.

    Args:
        weights: ``nf4`` or ``int8``.
    """
    _, blocks = find_blocks(model)
    for block in blocks:
        for name, layer in list(block.named_modules()):
            if type(layer) is nn.Linear:
                owner, _, leaf = name.rpartition(".")
                setattr(block.get_submodule(owner), leaf, _layer(layer, weights))
    keep_differentiable(model)  # for methods of the peft library too


def _layer(layer: nn.Linear, weights: str) -> nn.Module:
    bits: Any = importlib.import_module("bitsandbytes.nn")
    weight = layer.weight.detach().cpu()
    sizes = {"bias": layer.bias is not None, "device": "meta"}
    new: Any
    if weights == "nf4":
        kind = {"compute_dtype": torch.bfloat16, "quant_type": "nf4"}
        new = bits.Linear4bit(layer.in_features, layer.out_features, **kind, **sizes)
        new.weight = bits.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
    else:
        new = bits.Linear8bitLt(layer.in_features, layer.out_features, has_fp16_weights=False, **sizes)
        new.weight = bits.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    new.bias = layer.bias
    new.unquantized = (layer.weight,)  # in workers a view of shared memory; a tuple, so that it is no parameter
    return new.to(layer.weight.device)
