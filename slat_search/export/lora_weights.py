"""Convert the trained modules of an adapter to weights of peft's LoRA, and to complete norms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SlatError
from ..structure import KINDS, Adapter, find_blocks
from ..structure.adapter import SiteAdapter
from ..structure.modules import Bias
from ..structure.site_module import Linear

#: path of a projection -> name and value of its weights in peft
Loras = dict[str, dict[str, Tensor]]
DOWN, UP, SHIFT = "lora_A.weight", "lora_B.weight", "lora_B.bias"


def lora_weights(adapter: Adapter) -> Loras:
    """Return the low-rank modules of each projection, concatenated to one LoRA, and a shift as its bias.

    A projection with a shift alone gets a LoRA of rank 1 with zeros.

    Raises:
        SlatError: modules that peft cannot hold, or no module on a projection.
    """
    unsupported = sorted({m.kind for m in adapter.structure.modules if not KINDS[m.kind].in_peft})
    if unsupported:
        raise SlatError(
            f"export: peft cannot hold this adapter's {', '.join(unsupported)}; a search with `search.space.kinds: "
            "[spectral+lora+norm+bias]` finds what it can"
        )
    scale = adapter.options.scale
    loras = {s.site.name: _lora(s, scale) for s in adapter.site_adapters() if not s.site.is_norm}
    if not loras:
        raise SlatError(
            "export: this adapter has no module on a projection, so peft has no LoRA for it; a merged export holds it"
        )
    return loras


def _lora(site: SiteAdapter, scale: float) -> dict[str, Tensor]:
    pairs = [site.part(name).low_rank() for name in site.parts]
    factors = [pair for pair in pairs if pair is not None]
    device = next(site.parameters()).device
    down = torch.cat([a for a, _ in factors]) if factors else torch.zeros(1, site.site.d_in, device=device)
    up = torch.cat([b for _, b in factors], dim=1) if factors else torch.zeros(site.site.d_out, 1, device=device)
    weights = {DOWN: down.detach().clone(), UP: up.detach() / scale}
    for part in site.parts.values():
        if isinstance(part, Bias):
            weights[SHIFT] = part.shift.detach()[0] / scale
    return weights


@torch.no_grad()
def norm_weights(adapter: Adapter) -> Loras:
    """Return weight and bias of each norm that the adapter changes, with its modules merged; the norm is unchanged.

    Raises:
        SlatError: a shift on a norm that has no bias.
    """
    norms: Loras = {}
    for site in adapter.site_adapters():
        if not site.site.is_norm:
            continue
        layer = adapter.layer(site.site)
        if not isinstance(layer, nn.LayerNorm) or layer.bias is None:
            raise SlatError(
                f"export: peft cannot hold the shift of a norm that has no bias ({type(layer).__name__} at "
                f"{site.site.name})"
            )
        norm = Linear(layer.weight, layer.bias)
        for name in site.parts:
            norm, _ = site.part(name).merge(norm)
        norms[site.site.name] = {"weight": norm.weight.detach(), "bias": norm.bias.detach()}
    return norms


def in_one_rank(loras: Mapping[str, dict[str, Tensor]], model: nn.Module) -> Loras:
    """Pad with zeros to one rank, at the same projections of all blocks; the output of the model stays the same.

    vLLM and TGI read ``r`` and ``lora_alpha`` of an adapter and no ``rank_pattern``, and TGI ignores a projection that
    lacks a LoRA in any block.

    Raises:
        SlatError: biases, which these servers do not read.
    """
    if any(SHIFT in lora for lora in loras.values()):
        raise SlatError(
            "export: servers of LoRA read no bias shifts, and this adapter has some; a search with "
            "`search.space.kinds: [spectral+lora]` finds what they can serve"
        )
    path, blocks = find_blocks(model)
    rank = max(len(lora[DOWN]) for lora in loras.values())
    template = next(iter(loras.values()))[DOWN]
    block_paths = sorted({name.removeprefix(f"{path}.").partition(".")[2] for name in loras})
    padded_loras: Loras = {}
    for name in (f"{path}.{number}.{block_path}" for block_path in block_paths for number in range(len(blocks))):
        layers = dict(blocks.named_modules())
        layer = layers.get(name.removeprefix(f"{path}."))
        if layer is None:  # a block of another form, such as one without a mixture of experts
            continue
        if name in loras:
            down, up = loras[name][DOWN], loras[name][UP]
        else:
            width_out, width_in = _widths(layer)
            down, up = template.new_zeros(0, width_in), template.new_zeros(width_out, 0)
        padding = rank - len(down)
        padded_loras[name] = {DOWN: F.pad(down, (0, 0, 0, padding)), UP: F.pad(up, (0, padding))}
    return padded_loras


def _widths(layer: nn.Module) -> tuple[int, int]:
    """Return the width of the output and of the input of a projection."""
    rows, columns = layer.get_parameter("weight").shape
    return (columns, rows) if type(layer).__name__ == "Conv1D" else (rows, columns)
