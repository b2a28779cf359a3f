"""A structure's modules as LoRA of the peft library that computes the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from ..errors import SlatError
from ..structure import KINDS, Adapter, Structure
from ..structure.adapter import SiteAdapter
from ..structure.modules import Bias
from .loaded import LoadedAdapter


def as_peft(standing: LoadedAdapter) -> PeftModel:
    """The bare model with peft's LoRA on it: a rank for each projection (a spectral core has that of its smaller side),
    bias shifts as biases of LoRA (a projection
    with a shift alone carries it on a rank of zeros), and trained norms as modules that are saved whole.

    What is of peft already stays as it is; else the adapter of ``standing`` is merged.

    Raises:
        SlatError: modules that peft has nothing for, or none on a projection.
    """
    adapter = standing.adapter
    if isinstance(adapter, PeftModel):
        adapter.peft_config["default"].base_model_name_or_path, _ = standing.published
        return adapter
    scale = adapter.structure.options.scale
    loras = _loras(adapter, scale)
    norms = sorted(s.site.name for s in adapter.site_adapters() if s.site.is_norm)
    model = standing.bare()
    config = _config(
        {name: len(lora["lora_A.weight"]) for name, lora in loras.items()},
        norms,
        scale,
        lora_bias=any("lora_B.bias" in lora for lora in loras.values()),
        fan_in_fan_out=any(type(model.get_submodule(name)).__name__ == "Conv1D" for name in loras),
        task_type="FEATURE_EXTRACTION",
    )
    wrapped = get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path, _ = standing.published
    if adapter.merge().modules:
        raise SlatError("export: peft cannot hold the shift of a norm that has no bias (RMSNorm)")
    with torch.no_grad():
        for name, lora in loras.items():
            for weight, value in lora.items():
                part, _, parameter = weight.partition(".")
                wrapped.base_model.model.get_submodule(f"{name}.{part}.default").get_parameter(parameter).copy_(value)
        for name in norms:
            kept = wrapped.base_model.model.get_submodule(f"{name}.modules_to_save.default")
            kept.load_state_dict(standing.model.get_submodule(name).state_dict())
    return wrapped


def only_here(model: PeftModel) -> None:
    """Let the configuration name modules by their whole paths, so that peft refuses a model in which they begin
    otherwise, as they do inside a class with a head; by their ends it would find them there, and load no weight."""
    config: Any = model.peft_config["default"]
    config.target_modules = "|".join(map(re.escape, model.base_model.targeted_module_names))
    for field in ("layers_to_transform", "layers_pattern"):  # which only lists take; what they chose is named above
        if hasattr(config, field):
            setattr(config, field, None)


def lora_config(structure: Structure, **options: Any) -> LoraConfig:
    """A structure as a configuration of peft: a rank for each projection, and norms that are trained whole.

    For training it from fresh weights in one's own way, on any head::

        model = peft.get_peft_model(AutoModelForSequenceClassification.from_pretrained(name), lora_config(structure))

    Args:
        structure: LoRA and norms.
        options: further fields of :class:`peft.LoraConfig`, such as ``task_type`` or ``lora_dropout``.

    Raises:
        SlatError: other kinds of module, which peft has nothing for in places of one's choice, or no LoRA.
    """
    other = sorted({m.kind for m in structure.modules} - {"lora", "norm"})
    if other:
        raise SlatError(f"lora_config: peft cannot train {', '.join(other)} at single places; LoRA and norms it can")
    ranks = {m.site.name: m.size for m in structure.modules if m.kind == "lora"}
    if not ranks:
        raise SlatError("lora_config: the structure has no LoRA")
    norms = sorted(m.site.name for m in structure.modules if m.kind == "norm")
    return _config(ranks, norms, structure.options.scale, **options)


def _config(ranks: Mapping[str, int], norms: Sequence[str], scale: float, **options: Any) -> LoraConfig:
    """peft's scaling is alpha over rank."""
    return LoraConfig(
        r=1,
        rank_pattern=dict(ranks),
        lora_alpha=scale,
        alpha_pattern={name: scale * rank for name, rank in ranks.items()},
        target_modules=list(ranks),
        modules_to_save=list(norms) or None,
        **options,
    )


def _loras(adapter: Adapter, scale: float) -> dict[str, dict[str, Tensor]]:
    """Path of each projection with modules -> name and value of its weights in peft."""
    other = sorted({m.kind for m in adapter.structure.modules if not KINDS[m.kind].in_peft})
    if other:
        raise SlatError(
            f"export: peft cannot hold this adapter's {', '.join(other)}; a search with `search.space.kinds: [lora]` "
            "finds what it can"
        )
    found = {s.site.name: _lora(s, scale) for s in adapter.site_adapters() if not s.site.is_norm}
    if not found:
        raise SlatError("export: this adapter has no module on a projection, so peft has no LoRA for it")
    return found


def _lora(site: SiteAdapter, scale: float) -> dict[str, Tensor]:
    """Low-rank modules of a site side by side as one LoRA, and a shift as its bias."""
    pairs = [site.part(name).low_rank() for name in site.parts]
    factors = [pair for pair in pairs if pair is not None]
    down = torch.cat([a for a, _ in factors]) if factors else torch.zeros(1, site.site.d_in)
    up = torch.cat([b for _, b in factors], dim=1) if factors else torch.zeros(site.site.d_out, 1)
    weights = {"lora_A.weight": down.detach().clone(), "lora_B.weight": up.detach() / scale}
    for part in site.parts.values():
        if isinstance(part, Bias):
            weights["lora_B.bias"] = part.shift.detach()[0] / scale
    return weights
