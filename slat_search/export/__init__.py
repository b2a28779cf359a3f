"""For those who have other libraries: a trained adapter as a model of transformers or an adapter of peft, and a
structure as a configuration of peft."""

from .forms import Exported, export
from .hub import push
from .to_peft import lora_config, to_peft

__all__ = ["Exported", "export", "lora_config", "push", "to_peft"]
