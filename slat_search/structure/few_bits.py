"""Frozen layers in 4 and 8 bits, as bitsandbytes stores them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_FOUR_BIT, _EIGHT_BIT = "Linear4bit", "Linear8bitLt"  # by name, as the library may not be installed


def dequantized(layer: nn.Module) -> Tensor | None:
    """Dequantize the weight (d_out, d_in) of a layer to float32; None for layers of other kinds."""
    any_layer: Any = layer
    if type(layer).__name__ == _FOUR_BIT:
        import bitsandbytes.functional as bnb

        weight = any_layer.weight
        return bnb.dequantize_4bit(weight.data, weight.quant_state).float()
    if type(layer).__name__ == _EIGHT_BIT:
        # after its first forward pass the layer's state holds what its weight held before
        state = any_layer.weight if any_layer.weight.SCB is not None else any_layer.state
        int8_weight = any_layer.weight.data if state.CB is None else state.CB
        return int8_weight.float() * state.SCB.float().unsqueeze(1) / 127
    return None


def keep_differentiable(model: nn.Module) -> None:
    """Keep the 4-bit layers of a model in the form that gradients pass through.

    On a CPU with AVX512-BF16 bitsandbytes packs a layer anew when it is first evaluated, and from then on no gradient
    passes through it, without an error (bitsandbytes 0.50). A layer that is packed so already is unpacked.
    """
    for layer in model.modules():
        if type(layer).__name__ == _FOUR_BIT:
            any_layer: Any = layer
            any_layer.support_avx512bf16_for_cpu = False
            if getattr(any_layer.weight.quant_state, "packing_format_for_cpu", False):
                any_layer.state_dict()  # which unpacks in place
