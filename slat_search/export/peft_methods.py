"""Move adapters of peft's own methods, which are trained on a model without a head, to a class with a head."""

from __future__ import annotations

import copy
import re
from typing import Any

from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

from .target import Target

#: methods whose configuration names modules by paths, so that the paths may get a prefix
_MOVABLE = {"LORA", "IA3"}


def headless_reason(adapter: object) -> str:
    """Return the reason why an adapter fits only the model without a head; empty if it also fits other classes."""
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
    class_config = copy.deepcopy(config)
    class_config.target_modules, class_config.task_type = "|".join(map(re.escape, names)), target.task_type
    class_config.modules_to_save = [*(config.modules_to_save or ()), *target.saved] or None
    class_adapter = get_peft_model(target.model, class_config)
    prefix, class_prefix = "base_model.model.", f"base_model.model.{target.prefix}"
    weights = {
        name.replace(prefix, class_prefix, 1): value for name, value in get_peft_model_state_dict(adapter).items()
    }
    set_peft_model_state_dict(class_adapter, get_peft_model_state_dict(class_adapter) | weights)
    return class_adapter
