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
#: ``model.weights`` -> type in which weights are loaded and digests are computed
LOADED_AS = {"float32": "float32", "bfloat16": "bfloat16", "nf4": "bfloat16", "int8": "bfloat16"}


def check_quantized(weights: str) -> None:
    """Check that bitsandbytes is installed, if ``weights`` needs it.

    Raises:
        SlatError: it is not installed.
    """
    if weights in QUANTIZED and importlib.util.find_spec("bitsandbytes") is None:
        raise SlatError(f"model.weights: {weights} needs `pip install bitsandbytes`")


@torch.no_grad()
def quantize(model: nn.Module, weights: str) -> None:
    """Replace the linear layers of the blocks by those of bitsandbytes, in place. Quantized layers stay.

    ``nf4``: 4-bit NormalFloat with doubly quantized constants (Dettmers et al. 2023, arXiv 2305.14314). ``int8``: 8
    bits with outliers in 16 (Dettmers et al. 2022, arXiv 2208.07339). Singular directions are computed from the weights
    before quantization, so that an adapter also fits the published model.

    Args:
        weights: ``nf4`` or ``int8``.
    """
    _, blocks = find_blocks(model)
    for block in blocks:
        for name, layer in list(block.named_modules()):
            if type(layer) is nn.Linear:
                owner, _, leaf = name.rpartition(".")
                setattr(block.get_submodule(owner), leaf, _quantized(layer, weights))
    keep_differentiable(model)  # for methods of the peft library too


def _quantized(layer: nn.Linear, weights: str) -> nn.Module:
    bnb: Any = importlib.import_module("bitsandbytes.nn")
    weight = layer.weight.detach().cpu()
    options = {"bias": layer.bias is not None, "device": "meta"}
    linear: Any
    if weights == "nf4":
        nf4_options = {"compute_dtype": torch.bfloat16, "quant_type": "nf4"}
        linear = bnb.Linear4bit(layer.in_features, layer.out_features, **nf4_options, **options)
        linear.weight = bnb.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
    else:
        linear = bnb.Linear8bitLt(layer.in_features, layer.out_features, has_fp16_weights=False, **options)
        linear.weight = bnb.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    linear.bias = layer.bias
    linear.unquantized = (layer.weight,)  # in workers a view of shared memory; a tuple, so that it is no parameter
    return linear.to(layer.weight.device)
