"""A saved adapter on the model it was trained for, as that was published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..baselines import Applied, check_weights
from ..errors import SlatError
from ..inference.parts import naming, read_parts
from ..inference.predictor import READ
from ..models.loading import (
    check_fit,
    read_config,
    read_model,
    read_tokenizer,
)
from ..models.quantized import LOADED_AS
from ..models.registry import (
    model_path,
    needs_encoder,
    published,
    text_model,
)
from ..records import TrainingJob
from ..structure import Adapter, Structure, attach
from ..training.digests import check_model
from ..training.jobs import apply_job
from ..training.protocol import those_of

_PROBE = (
    "Markets fall after a surprise rise in interest rates",
    "Film festival opens with a documentary on the history of jazz",
    "Away win",
)


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter that stands on its model; the model is whole, with its own dropout and what we do not use of it.

    Attributes:
        description: the content of ``adapter.json``.
        base: folder or hub name that the bare model was loaded from.
        published: its name for others, and a GGUF file there or nothing.
        loader: class of transformers that loads the bare model.
        is_taken_out: whether the model is the encoder of what is loaded so.
        adapter: modules of ours, or those of a method of peft.
        structure: what the adapter is, told in one line.
        head: ``weight`` (outputs, width) and ``bias`` (outputs,).
    """

    description: dict[str, Any]
    base: str
    published: tuple[str, str]
    loader: str
    is_taken_out: bool
    model: PreTrainedModel
    tokenizer: Any
    adapter: Adapter | PeftModel
    structure: str
    head: dict[str, Tensor]

    def bare(self) -> PreTrainedModel:
        """The model again in float32, without the adapter."""
        return _bare(self.base, self.description)

    @property
    def is_prompted(self) -> bool:
        """Whether the adapter stands on a causal language model that answers in words, and has no head."""
        return bool(self.description.get("prompt"))

    def batch(self) -> dict[str, Tensor]:
        """A few texts of different length."""
        return dict(
            self.tokenizer(
                list(_PROBE), padding=True, padding_side="right", return_tensors="pt", return_token_type_ids=False
            )
        )

    @torch.inference_mode()
    def vectors(self, model: nn.Module) -> Tensor:
        """Token vectors (texts, length, width) of :meth:`batch`, those of padding at 0, by ``model`` as it stands; of
        what answers in words its logits."""
        batch = self.batch()
        output = model.eval()(**batch)
        vectors = output.logits if self.is_prompted else output.last_hidden_state
        return vectors * batch["attention_mask"].unsqueeze(-1)

    def settings(self) -> dict[str, Any]:
        """Fields of the configuration of a class for classification: labels and their names."""
        labels = self.description["labels"]
        if not labels:
            return {"num_labels": 1, "problem_type": "regression"}
        return {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
            "problem_type": "single_label_classification",
        }


def stand(folder: Path) -> LoadedAdapter:
    """Load an adapter folder.

    Raises:
        SlatError: not an adapter folder, damaged, of a method that is neither a structure nor one of peft's tuners, or
            a model that is not the one it was trained on.
    """
    description, state = read_parts(folder, "adapter", *READ)
    name = description["model"]["name"]
    base = model_path(name)
    config, tokenizer = read_config(base, name), read_tokenizer(base, name)
    prompted = bool(description.get("prompt"))
    model = _bare(base, description)
    check_fit(model, tokenizer, name)
    check_model(f"export: adapter {folder}", description, model, tokenizer)
    with naming("export: adapter", folder):
        applied = apply_job(TrainingJob(**description["unit"]), model)
    adapter = attach(model, Structure()) if applied.module is None else applied.module
    if not isinstance(adapter, Adapter | PeftModel):
        raise SlatError(f"export: {folder} holds {description['unit']['method']!r}, which no other library can hold")
    tensors = {key: torch.from_numpy(np.array(value)) for key, value in state.items()}
    with naming("export: adapter", folder):
        applied.load(those_of("adapter.", tensors))
        if not prompted:
            _check_head(those_of("head.", tensors), max(1, len(description["labels"])), model.config.hidden_size)
    return LoadedAdapter(
        description,
        base,
        _for_others(name),
        "AutoModelForCausalLM" if prompted else text_model(config).__name__,
        needs_encoder(config),
        model,
        tokenizer,
        adapter,
        _told(applied, description["unit"]["method"]),
        those_of("head.", tensors),
    )


def _check_head(head: dict[str, Tensor], outputs: int, width: int) -> None:
    """Raise where a head is not that of so many outputs on vectors of this width."""
    check_weights({"weight": torch.empty(outputs, width), "bias": torch.empty(outputs)}, head)


def _for_others(name: str) -> tuple[str, str]:
    """The model's name for others; a folder by its whole path, as an adapter may be loaded from anywhere."""
    folder = Path(name).expanduser()
    return (str(folder.resolve()), "") if folder.is_dir() else published(name)


def _told(applied: Applied, method: str) -> str:
    if applied.structure is None:
        return f"{applied.params:,} parameters: {method} of the peft library"
    return applied.structure.describe()


def _bare(base: str, description: dict[str, Any]) -> PreTrainedModel:
    """The model in float32, with its weights rounded as those that the adapter was trained on."""
    name, weights = description["model"]["name"], LOADED_AS[description["model"].get("weights", "float32")]
    causal = bool(description.get("prompt"))
    return read_model(base, name, read_config(base, name), weights, causal).float().requires_grad_(False)
