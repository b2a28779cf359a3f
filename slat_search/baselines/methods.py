"""Hand-made methods, each applied to a backbone and taken off again.

One function and one entry in ``METHODS`` is a new baseline. ``slat`` is the found structure, trained again
through the same door.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SlatError
from ..structure import Structure, attach, find_sites


@dataclass
class Applied:
    """A method that stands on a backbone.

    Attributes:
        module: holds the parameters to train; None trains the head alone.
        structure: what stands where, if the method is a fixed structure.
        undo: takes it off the backbone.
    """

    module: nn.Module | None = None
    structure: Structure | None = None
    undo: Callable[[], object] = field(default=lambda: None)

    def trained(self) -> dict[str, nn.Parameter]:
        """Names and parameters that this method trains."""
        if self.module is None:
            return {}
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    @property
    def params(self) -> int:
        return sum(p.numel() for p in self.trained().values())

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put saved values back; names and shapes must be those of :meth:`trained`."""
        trained = self.trained()
        if set(trained) != set(state):
            raise SlatError(f"adapter weights do not fit: {sorted(set(trained) ^ set(state))[:3]} ...")
        for name, value in state.items():
            trained[name].copy_(value)


def _structure(backbone: nn.Module, structure: Structure) -> Applied:
    adapter = attach(backbone, structure)
    return Applied(adapter, structure, adapter.detach)


def slat(backbone: nn.Module, options: Mapping[str, Any]) -> Applied:
    """A found structure; ``structure`` is its :meth:`Structure.to_dict`."""
    return _structure(backbone, Structure.from_dict(options["structure"]))


def houlsby(backbone: nn.Module, options: Mapping[str, Any]) -> Applied:
    """Serial adapters of width ``size`` (Houlsby et al. 2019)."""
    return _structure(backbone, Structure.houlsby(find_sites(backbone), options["size"]))


def bitfit(backbone: nn.Module, options: Mapping[str, Any]) -> Applied:
    """All biases of the blocks (Ben Zaken et al. 2021)."""
    return _structure(backbone, Structure.bitfit(find_sites(backbone)))


def lora(backbone: nn.Module, options: Mapping[str, Any]) -> Applied:
    """LoRA of rank ``size`` on ``roles`` through the peft library, ``lora_alpha = 16`` (Hu et al. 2021)."""
    import peft

    targets = [s.name for s in find_sites(backbone) if s.role in options["roles"]]
    if not targets:
        raise SlatError(f"baselines.roles: no projection of this model has a role in {', '.join(options['roles'])}")
    config = peft.LoraConfig(r=options["size"], lora_alpha=16, lora_dropout=0.0, target_modules=targets)
    with warnings.catch_warnings():  # peft remembers an earlier adapter on the same backbone and says so
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)  # peft's own use of transformers, nothing for our user
        model = peft.get_peft_model(backbone, config)

    def undo() -> None:
        model.unload()
        if hasattr(backbone, "peft_config"):
            del backbone.peft_config

    return Applied(model, None, undo)


def head(backbone: nn.Module, options: Mapping[str, Any]) -> Applied:
    """The linear head alone."""
    return Applied(None, Structure())


METHODS: dict[str, Callable[[nn.Module, Mapping[str, Any]], Applied]] = {
    "slat": slat,
    "lora": lora,
    "houlsby": houlsby,
    "bitfit": bitfit,
    "head": head,
}


def apply_method(name: str, backbone: nn.Module, options: Mapping[str, Any]) -> Applied:
    """Put method ``name`` on ``backbone``; initial weights follow torch's global seed."""
    return METHODS[name](backbone, options)
