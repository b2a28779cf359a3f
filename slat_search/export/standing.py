"""A saved adapter on the model it was trained for, as that was published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ..baselines import Applied
from ..errors import SlatError
from ..structure import Adapter, Structure, attach
from ..training.bundle import FORMAT, read_parts
from ..training.digests import check_model
from ..training.models import model_path, published, text_model
from ..training.protocol import those_of
from ..training.units import Unit

_PROBE = (
    "Markets fall after a surprise rise in interest rates",
    "Film festival opens with a documentary on the history of jazz",
    "Away win",
)


@dataclass(frozen=True)
class Standing:
    """An adapter that stands on its model; the model is whole, with its own dropout and what we do not use of it.

    Attributes:
        description: the content of ``adapter.json``.
        base: folder or hub name that the bare model was loaded from.
        published: its name for others, and a GGUF file there or nothing.
        adapter: modules of ours, or those of a method of peft.
        structure: what the adapter is, told in one line.
        head: ``weight`` (outputs, width) and ``bias`` (outputs,).
    """

    description: dict[str, Any]
    base: str
    published: tuple[str, str]
    model: PreTrainedModel
    tokenizer: Any
    adapter: Adapter | PeftModel
    structure: str
    head: dict[str, Tensor]

    @property
    def loader(self) -> str:
        """Class of transformers that loads the bare model."""
        return text_model(AutoConfig.from_pretrained(self.base)).__name__

    def bare(self) -> PreTrainedModel:
        """The model again in float32, without the adapter."""
        return _bare(self.base)

    @torch.inference_mode()
    def vectors(self, model: nn.Module) -> Tensor:
        """Token vectors (texts, length, width) of a few texts, those of padding at 0, by ``model`` as it stands."""
        batch = self.tokenizer(list(_PROBE), padding=True, padding_side="right", return_tensors="pt")
        return model.eval()(**batch).last_hidden_state * batch["attention_mask"].unsqueeze(-1)


def stand(folder: Path) -> Standing:
    """Load an adapter folder.

    Raises:
        SlatError: not an adapter folder, damaged, of a method that is neither a structure nor one of peft's tuners, or
            a model that is not the one it was trained on.
    """
    description, state = read_parts(folder, "adapter", FORMAT)
    name = description["model"]["name"]
    base = model_path(name)
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = _bare(base)
    check_model(f"export: adapter {folder}", description, model, tokenizer)
    applied = Unit(**description["unit"]).apply(model)
    adapter = attach(model, Structure()) if applied.module is None else applied.module
    if not isinstance(adapter, Adapter | PeftModel):
        raise SlatError(f"export: {folder} holds {description['unit']['method']!r}, which no other library can hold")
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
    applied.load(those_of("adapter.", tensors))
    return Standing(
        description,
        base,
        published(name),
        model,
        tokenizer,
        adapter,
        _told(applied, description["unit"]["method"]),
        those_of("head.", tensors),
    )


def _told(applied: Applied, method: str) -> str:
    if applied.structure is None:
        return f"{applied.params:,} parameters: {method} of the peft library"
    return applied.structure.describe()


def _bare(base: str) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(base)
    return text_model(config).from_pretrained(base, config=config, dtype="float32").requires_grad_(False)
