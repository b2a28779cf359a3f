"""For those who have other libraries: a trained adapter as a model of transformers or an adapter of peft, and a
structure as a configuration of peft."""

from .forms import export
from .to_peft import lora_config

__all__ = ["export", "lora_config"]
