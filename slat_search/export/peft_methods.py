"""Adapters of peft's own methods, which were trained on a model without a head, in a class with one."""

from __future__ import annotations

import copy
import re
from typing import Any

from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

from .target import Target

#: methods whose configuration names modules by paths that may begin otherwise
_MOVABLE = {"LORA", "IA3"}


def headless_reason(adapter: object) -> str:
    """Say why an adapter can stand on the model without a head alone; empty where it can stand in other classes."""
    if not isinstance(adapter, PeftModel):
        return ""
    kind = adapter.peft_config["default"].peft_type.value
    return "" if kind in _MOVABLE else f"{kind} of peft is exported for the model without a head"


def on_class(adapter: PeftModel, target: Target) -> PeftModel:
    """Return the adapter on the class that the export is made for."""
    config: Any = adapter.peft_config["default"]
    if not target.prefix:
        config.task_type = "FEATURE_EXTRACTION"
        return adapter
    names = [target.prefix + name for name in adapter.base_model.targeted_module_names]
    moved = copy.deepcopy(config)
    moved.target_modules, moved.task_type = "|".join(map(re.escape, names)), target.task_type
    moved.modules_to_save = [*(config.modules_to_save or ()), *target.saved] or None
    wrapped = get_peft_model(target.model, moved)
    start, longer = "base_model.model.", f"base_model.model.{target.prefix}"
    weights = {name.replace(start, longer, 1): value for name, value in get_peft_model_state_dict(adapter).items()}
    set_peft_model_state_dict(wrapped, get_peft_model_state_dict(wrapped) | weights)
    return wrapped
