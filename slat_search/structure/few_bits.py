"""Frozen layers in 4 and 8 bits, as bitsandbytes keeps them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_FOUR, _EIGHT = "Linear4bit", "Linear8bitLt"  # by name, as the library may not be installed


def dequantized(layer: nn.Module) -> Tensor | None:
    """Dequantize the weight (d_out, d_in) of a layer to float32; None for layers of other kinds."""
    any_layer: Any = layer
    if type(layer).__name__ == _FOUR:
        import bitsandbytes.functional as bits

        weight = any_layer.weight
        return bits.dequantize_4bit(weight.data, weight.quant_state).float()
    if type(layer).__name__ == _EIGHT:
        # from its first forward pass on the layer's state holds what the weight held
        weight = any_layer.weight if any_layer.weight.SCB is not None else any_layer.state
        packed = any_layer.weight.data if weight.CB is None else weight.CB
        return packed.float() * weight.SCB.float().unsqueeze(1) / 127
    return None


def keep_differentiable(model: nn.Module) -> None:
    """Keep the 4-bit layers of a model in the form that gradients pass through.

    On a CPU with AVX512-BF16 bitsandbytes packs a layer anew when it is first evaluated, and from then on no gradient
    passes through it, without an error (bitsandbytes 0.50). A layer that is packed so already is unpacked.
    """
    for layer in model.modules():
        if type(layer).__name__ == _FOUR:
            any_layer: Any = layer
            any_layer.support_avx512bf16_for_cpu = False
            if getattr(any_layer.weight.quant_state, "packing_format_for_cpu", False):
                any_layer.state_dict()  # which unpacks in place
