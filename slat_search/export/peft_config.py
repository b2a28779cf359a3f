"""Convert structures to LoRA configurations of the peft library, with a rank for each projection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peft import LoraConfig, PeftModel
from torch import nn

from ..errors import SlatError
from ..structure import Structure


def lora_config(structure: Structure, **options: Any) -> LoraConfig:
    """Convert a structure to a peft configuration: a rank per projection, and fully trained norms.

    To train it from fresh weights under any head::

        model = peft.get_peft_model(AutoModelForSequenceClassification.from_pretrained(name), lora_config(structure))

    Args:
        structure: LoRA and norms.
        options: further fields of :class:`peft.LoraConfig`, such as ``task_type`` or ``lora_dropout``.

    Raises:
        SlatError: other kinds of module, which peft cannot place freely, or no LoRA.
    """
    unsupported = sorted({m.kind for m in structure.modules} - {"lora", "norm"})
    if unsupported:
        raise SlatError(
            f"lora_config: peft cannot train {', '.join(unsupported)} at single places; LoRA and norms it "
            "can, which a search with `search.space.kinds: [lora+norm]` finds"
        )
    ranks = {m.site.name: m.size for m in structure.modules if m.kind == "lora"}
    if not ranks:
        raise SlatError("lora_config: the structure has no LoRA")
    norms = sorted(m.site.name for m in structure.modules if m.kind == "norm")
    return config_of(ranks, norms, structure.options.scale, **options)


def config_of(ranks: Mapping[str, int], modules_to_save: Sequence[str], scale: float, **options: Any) -> LoraConfig:
    """Return the configuration with ranks by module, and with modules that are saved completely; the scaling of peft is
    alpha divided by rank."""
    return LoraConfig(
        r=1,
        rank_pattern=dict(ranks),
        lora_alpha=scale,
        alpha_pattern={name: scale * rank for name, rank in ranks.items()},
        target_modules=list(ranks),
        modules_to_save=list(modules_to_save) or None,
        **options,
    )


def uniform(config: LoraConfig, names: Iterable[str], model: nn.Module) -> LoraConfig:
    """Set one rank, one alpha, and the shortest names that match the projections ``names`` and no others; return
    ``config``."""
    (rank,) = set(config.rank_pattern.values())
    alpha = config.lora_alpha * rank
    config.r, config.rank_pattern, config.alpha_pattern = rank, {}, {}
    config.lora_alpha = int(alpha) if alpha == int(alpha) else alpha  # servers expect a whole number
    targets, all_names = set(names), [name for name, _ in model.named_modules()]
    for length in range(1, max(name.count(".") for name in targets) + 2):
        suffixes = sorted({".".join(name.split(".")[-length:]) for name in targets})
        matches = {name for name in all_names if any(name == end or name.endswith(f".{end}") for end in suffixes)}
        if matches == targets:
            config.target_modules = set(suffixes)
            break
    return config


def only_here(model: PeftModel) -> None:
    """Let the configuration name modules by their full paths, so that peft rejects a model in which the paths begin
    differently, as in a class with a head; by the ends of the paths it would find modules there, and load no weight."""
    config: Any = model.peft_config["default"]
    config.target_modules = "|".join(map(re.escape, model.base_model.targeted_module_names))
    for field in ("layers_to_transform", "layers_pattern"):  # valid with lists only; their choice is in the paths above
        if hasattr(config, field):
            setattr(config, field, None)
