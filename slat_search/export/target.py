"""Choose the class of transformers that an export is made for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging

from ..errors import SlatError
from ..models.quantized import LOADED_AS
from ..models.registry import needs_encoder
from .head import LinearHead, UnfitHeadError, put_head
from .loaded import LoadedAdapter
from .to_peft import CLASSES, TASK_TYPES

_LOADERS = {"SEQ_CLS": AutoModelForSequenceClassification, "CAUSAL_LM": AutoModelForCausalLM}


@dataclass(frozen=True)
class Target:
    """A bare model of the class that an export is made for; a class for classification holds our head.

    Attributes:
        task_type: task type of the class, in the terms of peft.
        model: model of the class.
        saved: names of the modules of ``model`` that hold the head.
        settings: fields of the configuration that the class is loaded with.
        is_own: whether the adapter was trained on the class itself rather than on the backbone inside it.
        reason: reason why no class for classification was chosen, in one sentence; empty if one was chosen, or if
            another class was asked for.
    """

    task_type: str
    model: PreTrainedModel
    saved: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None
    reason: str = ""
    is_own: bool = False

    @property
    def prefix(self) -> str:
        """Prefix of the names of the backbone's modules in the class."""
        has_prefix = self.task_type in CLASSES and not self.is_own
        return f"{self.model.base_model_prefix}." if has_prefix else ""

    def inside(self, model: nn.Module) -> nn.Module:
        """Return the backbone of a model of this class."""
        return model.get_submodule(self.prefix.removesuffix("."))

    def with_backbone(self, backbone: PreTrainedModel) -> PreTrainedModel:
        """Return a model of the class, with its head, around another backbone."""
        if not self.prefix:
            return backbone
        class_backbone: Any = self.inside(self.model)
        states = {name: self.model.get_submodule(name).state_dict() for name in self.saved}
        if hasattr(backbone, "pooler"):
            backbone.pooler = getattr(class_backbone, "pooler", None)
        setattr(self.model, self.model.base_model_prefix, backbone)
        for name, state in states.items():
            self.model.get_submodule(name).load_state_dict(state)
        self.model.tie_weights()
        return self.model


def choose_target(loaded: LoadedAdapter, task_type: str | None, serving: bool, headless: str = "") -> Target:
    """Choose and load the class.

    Args:
        task_type: task type that the user asks for; None chooses a class for classification if the head fits one, else
            the model without a head.
        serving: whether the export is for a server of LoRA, which reads no head: None then chooses the class that
            generates text, if there is one.
        headless: reason why the adapter fits only the model without a head; empty if it fits any class.

    Raises:
        SlatError: the class that was asked for does not fit.
    """
    if task_type not in (None, *TASK_TYPES):
        raise SlatError(f"export: task_type is one of {', '.join(TASK_TYPES)}, not {task_type!r}")
    if serving and task_type == "SEQ_CLS":
        raise SlatError("export: servers of LoRA read no head from an adapter; ask for one rank without SEQ_CLS")
    if loaded.is_prompted:
        if task_type not in (None, "CAUSAL_LM"):
            raise SlatError("export: this adapter answers in words and has no head; its class is CAUSAL_LM")
        return Target("CAUSAL_LM", loaded.bare(), is_own=True)
    config: PreTrainedConfig = loaded.model.config
    if headless and task_type in CLASSES:
        raise SlatError(f"export: {headless}")
    if serving and task_type is None:
        task_type = "CAUSAL_LM" if type(config) in CLASSES["CAUSAL_LM"] and _is_causal(loaded) else None
    if task_type == "CAUSAL_LM":
        if loaded.is_taken_out or type(config) not in CLASSES["CAUSAL_LM"] or not _is_causal(loaded):
            raise SlatError(
                f"export: {type(loaded.model).__name__} generates no text, so CAUSAL_LM has no class for it"
            )
        return Target("CAUSAL_LM", _load("CAUSAL_LM", loaded, {}))
    if task_type == "FEATURE_EXTRACTION" or serving:
        return Target("FEATURE_EXTRACTION", loaded.bare())
    try:
        if headless:
            raise UnfitHeadError(headless)
        return _classifier(loaded)
    except UnfitHeadError as error:
        if task_type is not None:
            raise SlatError(f"export: {error}") from error
        return Target("FEATURE_EXTRACTION", loaded.bare(), reason=str(error))


def load_again(loaded: LoadedAdapter, target: Target) -> PreTrainedModel:
    """Load the class again from the published model, without the adapter."""
    if target.task_type not in CLASSES:
        return loaded.bare()
    return _load(target.task_type, loaded, target.settings or {})


def _classifier(loaded: LoadedAdapter) -> Target:
    config: PreTrainedConfig = loaded.model.config
    if config.is_encoder_decoder or needs_encoder(config) or loaded.loader != "AutoModel":
        raise UnfitHeadError(f"transformers has no class that classifies with the encoder of {config.model_type} alone")
    if type(config) not in CLASSES["SEQ_CLS"]:
        raise UnfitHeadError(f"transformers has no class for classification of {config.model_type}")
    settings = loaded.settings()
    if not isinstance(loaded.tokenizer.pad_token_id, int):
        raise UnfitHeadError("the tokenizer has no token to pad with")
    model = _load("SEQ_CLS", loaded, settings)
    if hasattr(model, "score"):  # `score` reads the last token that is no padding
        settings["pad_token_id"] = loaded.tokenizer.pad_token_id
        model.config.pad_token_id = settings["pad_token_id"]
    saved = put_head(model, head_of(loaded), loaded.batch())
    return Target("SEQ_CLS", model, saved, settings)


def head_of(loaded: LoadedAdapter) -> LinearHead:
    """Return the trained head; that of a regression includes the scale of its numbers."""
    weight, bias = loaded.head["weight"].float(), loaded.head["bias"].float()
    is_regression = not loaded.task.labels
    if is_regression:
        mean, deviation = loaded.task.scale
        weight, bias = weight * deviation, bias * deviation + mean
    return LinearHead(weight, bias, loaded.saved.model.pooling, is_regression)


def _load(task_type: str, loaded: LoadedAdapter, settings: dict[str, Any]) -> PreTrainedModel:
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # transformers would warn that the head is new
    try:
        storage = LOADED_AS[loaded.saved.model.weights]
        load = partial(_LOADERS[task_type].from_pretrained, loaded.base, dtype=storage)
        return load(**loaded.source.options, **settings).float().requires_grad_(False).eval()
    finally:
        logging.set_verbosity(level)


@torch.inference_mode()
def _is_causal(loaded: LoadedAdapter) -> bool:
    """Return whether attention is causal: whether a change of the last token leaves the earlier vectors unchanged."""
    ids = loaded.batch()["input_ids"][:1, :4]
    changed_ids = ids.clone()
    changed_ids[:, -1] = ids[:, 1]
    vectors, changed_vectors = (loaded.model(input_ids=x).last_hidden_state[:, :-1] for x in (ids, changed_ids))
    return bool(torch.allclose(vectors, changed_vectors, atol=1e-6))
