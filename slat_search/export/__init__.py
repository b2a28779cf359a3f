"""Export a trained adapter as a transformers model or a peft adapter, and a structure as a peft configuration."""

from .forms import Exported, export
from .hub import push
from .peft_config import lora_config
from .to_peft import to_peft

__all__ = ["Exported", "export", "lora_config", "push", "to_peft"]
