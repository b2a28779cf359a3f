"""Load a saved adapter on the published form of the model that it was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..baselines import Applied, check_weights
from ..errors import SlatError
from ..inference.saved import apply_saved, model_source, naming, read_saved
from ..models.loading import (
    check_fit,
    read_config,
    read_model,
    read_tokenizer,
)
from ..models.quantized import LOADED_AS
from ..models.registry import (
    Source,
    needs_encoder,
    published,
    text_model,
)
from ..records import AdapterTask, SavedAdapter
from ..structure import Adapter, Structure, attach
from ..training.digests import check_model
from ..training.jobs import load_state
from ..training.protocol import strip_prefix

_PROBE_TEXTS = (
    "Markets fall after a surprise rise in interest rates",
    "Film festival opens with a documentary on the history of jazz",
    "Away win",
)


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter on its model; the model is complete, with its own dropout and the parts that we do not use.

    Attributes:
        saved: the description of the adapter.
        source: source of the bare model.
        published: public name of the bare model, and the name of its GGUF file or an empty text.
        loader: class of transformers that loads the bare model.
        is_taken_out: whether the model is the encoder, taken out of the model that ``loader`` loads.
        adapter: modules of this library, or those of a method of peft.
        structure: one-line description of the adapter.
        head: ``weight`` (outputs, width) and ``bias`` (outputs,).
    """

    saved: SavedAdapter
    source: Source
    published: tuple[str, str]
    loader: str
    is_taken_out: bool
    model: PreTrainedModel
    tokenizer: Any
    adapter: Adapter | PeftModel
    structure: str
    head: dict[str, Tensor]

    def bare(self) -> PreTrainedModel:
        """Load the model again, in float32 and without the adapter."""
        return _read_bare_model(self.source, self.saved)

    @property
    def base(self) -> str:
        """Folder or hub name that the bare model was loaded from."""
        return self.source.path

    @property
    def task(self) -> AdapterTask:
        """The only task of the adapter."""
        (task,) = self.saved.tasks.values()
        return task

    @property
    def is_prompted(self) -> bool:
        """Whether the adapter is for a causal language model that answers in words, without a head."""
        return self.task.prompt is not None

    def batch(self) -> dict[str, Tensor]:
        """Return a batch of a few texts of different lengths."""
        return dict(
            self.tokenizer(
                list(_PROBE_TEXTS), padding=True, padding_side="right", return_tensors="pt", return_token_type_ids=False
            )
        )

    @torch.inference_mode()
    def vectors(self, model: nn.Module) -> Tensor:
        """Return the token vectors (texts, length, width) of :meth:`batch` by ``model``, with 0 for padding; for a
        model that answers in words return its logits."""
        batch = self.batch()
        output = model.eval()(**batch)
        vectors = output.logits if self.is_prompted else output.last_hidden_state
        return vectors * batch["attention_mask"].unsqueeze(-1)

    def settings(self) -> dict[str, Any]:
        """Return the fields of the configuration of a class for classification: labels and their names."""
        labels = self.task.labels
        if not labels:
            return {"num_labels": 1, "problem_type": "regression"}
        return {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
            "problem_type": "single_label_classification",
        }


def load_for_export(folder: Path) -> LoadedAdapter:
    """Load an adapter folder.

    Raises:
        SlatError: not an adapter folder, damaged, of a method that is neither a structure nor one of peft's tuners, or
            a model that is not the one it was trained on.
    """
    saved, state = read_saved(folder)
    if len(saved.tasks) > 1:
        raise SlatError(f"export: {folder} holds an adapter of several tasks; give the folder of one of them in it")
    (task,) = saved.tasks.values()
    name = saved.model.name
    source = model_source(folder, saved)
    config, tokenizer = read_config(source), read_tokenizer(source)
    model = _read_bare_model(source, saved)
    check_fit(model, tokenizer, name)
    check_model(f"export: adapter {folder}", saved, model, tokenizer)
    with naming("export: adapter", folder):
        applied = apply_saved(saved.job, model)
    adapter = attach(model, Structure()) if applied.module is None else applied.module
    if not isinstance(adapter, Adapter | PeftModel):
        raise SlatError(f"export: {folder} holds {saved.job.method!r}, which no other library can hold")
    head = {name: torch.from_numpy(value) for name, value in strip_prefix("head.", state).items()}
    with naming("export: adapter", folder):
        load_state([], applied, state)
        if task.prompt is None:
            _check_head(head, task.outputs, model.config.hidden_size)
    return LoadedAdapter(
        saved,
        source,
        _public_name(name),
        "AutoModelForCausalLM" if task.prompt is not None else text_model(config).__name__,
        needs_encoder(config),
        model,
        tokenizer,
        adapter,
        _describe(applied, saved.job.method),
        head,
    )


def facts_json(loaded: LoadedAdapter, *names: str) -> str:
    """Return some fields of the adapter's task as the content of a file."""
    facts = loaded.task.to_dict()
    return json.dumps({name: facts[name] for name in names}, indent=2) + "\n"


def _check_head(head: dict[str, Tensor], outputs: int, width: int) -> None:
    """Raise if the shapes of a head do not fit this number of outputs and width of vectors."""
    check_weights({"weight": torch.empty(outputs, width), "bias": torch.empty(outputs)}, head)


def _public_name(name: str) -> tuple[str, str]:
    """Return the public name of a model and its GGUF file; a folder by its full path, as an adapter may be loaded from
    anywhere."""
    folder = Path(name).expanduser()
    return (str(folder.resolve()), "") if folder.is_dir() else published(name)


def _describe(applied: Applied, method: str) -> str:
    if applied.structure is None:
        return f"{applied.params:,} parameters: {method} of the peft library"
    return applied.structure.describe()


def _read_bare_model(source: Source, saved: SavedAdapter) -> PreTrainedModel:
    """Load the model in float32, with weights rounded as in the training of the adapter."""
    weights = LOADED_AS[saved.model.weights]
    causal = any(task.prompt is not None for task in saved.tasks.values())
    return read_model(source, read_config(source), weights, causal).float().requires_grad_(False)
