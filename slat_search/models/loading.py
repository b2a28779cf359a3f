"""Load a model and its tokenizer whole: what their files lack, or what does not fit together, is an error.

The libraries would go on with random weights, or with a tokenizer that knows no word.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import nn
from transformers.utils import logging as transformers_logging

from ..errors import SlatError
from ..structure import find_blocks
from .files import (
    fault,
    has_tokenizer,
    pointer,
    without_config,
)
from .registry import Source, is_causal, needs_encoder, text_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

#: modules over the last hidden state, which is what we take of a model
_HEADS = re.compile(r"(^|\.)(pooler|cls|classifier|score|lm_head|qa_outputs|seq_relationship|sequence_summary)(\.|$)")
_ADDED = re.compile(r"\.(lora_\w+|base_layer|adapters?|ia3_l|vera_lambda_\w)\b")
_NO_TOKENIZER = (
    "it has no tokenizer (tokenizer.json, vocab.txt or the like); put the one that the model was trained with into the "
    "folder, by its `save_pretrained`"
)
_NOT_RUN = "is not run; `model.trust_remote_code: true` in a configuration of your own allows it"
_SPECIAL = ("pad", "bos", "eos", "cls", "sep")
_NESTED = {"state_dict", "model_state_dict", "model", "module"}  # where checkpoints of a training keep the weights
_FEW_MERGES = 1000  # a vocabulary of more than these has been merged from bytes or characters


def read_config(source: Source) -> PreTrainedConfig:
    """The configuration of a model of text.

    Raises:
        SlatError: missing or broken, of an unknown kind of model, or one of images or sound.
    """
    if reason := without_config(source.path) or pointer(source.path, source.revision):
        raise SlatError(f"model.name: cannot load {source.name!r}: {reason}")
    with _one_sentence(source):
        config = transformers.AutoConfig.from_pretrained(source.path, **source.options)
        attention = getattr(config, "_attn_implementation", None)
        if isinstance(attention, str) and "/" in attention and not source.trust_remote_code:
            raise _UnfitError(f"its attention is code of {attention} on the hub, which {_NOT_RUN}")
        if not isinstance(getattr(config, "hidden_size", None), int):
            raise _UnfitError(f"{config.model_type} is no model of text alone")
    return config


def read_tokenizer(source: Source) -> Any:
    """The tokenizer of a model, with a token to pad with.

    Raises:
        SlatError: its files are missing or damaged, or it has no special token at all.
    """
    with _one_sentence(source):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.path, **source.options)
        except Exception as error:
            if has_tokenizer(source.path, source.revision):
                raise
            raise _UnfitError(_NO_TOKENIZER) from error
        known = set(tokenizer.get_vocab().values())
        if len(known - set(tokenizer.added_tokens_decoder)) <= 1:  # T5's keeps the space alone
            raise _UnfitError(_NO_TOKENIZER)
        if len(known) > _FEW_MERGES and not _merges(tokenizer):
            raise _UnfitError("its tokenizer has a vocabulary and no merges; is merges.txt missing?")
        _pad(tokenizer, highest=max(known))
    return tokenizer


def read_model(source: Source, config: PreTrainedConfig, weights: str, causal: bool = False) -> PreTrainedModel:
    """The model without task head; of an encoder-decoder the encoder.

    Args:
        weights: ``float32`` or ``bfloat16``, whatever the model was saved in.
        causal: a causal language model with the head that predicts the next token.

    Raises:
        SlatError: weights that are missing, damaged, or do not fit the configuration.
    """
    with _one_sentence(source):
        if causal and not is_causal(config):
            raise _UnfitError(f"a prompt needs a causal language model, and {config.model_type} is none")
        model, report = (transformers.AutoModelForCausalLM if causal else text_model(config)).from_pretrained(
            source.path,
            config=config,
            dtype=weights,
            **source.options,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, by their names
        )
        encoder = ""
        if needs_encoder(config) and not causal:
            whole, model = model, model.get_encoder()
            if not isinstance(model, transformers.PreTrainedModel):
                raise _UnfitError(f"the encoder of {type(whole).__name__} cannot be used alone")
            encoder = next(f"{path}." for path, module in whole.named_modules() if module is model)
        if model.main_input_name != "input_ids":
            raise _UnfitError(f"{config.model_type} is no model of text alone")
        _check_weights(model, report, encoder, causal)
    return model


def check_fit(model: PreTrainedModel, tokenizer: Any, name: str) -> None:
    """Check that the model has an embedding for every token.

    Raises:
        SlatError: it has not, or the tokenizer is plainly that of another model.
    """
    rows, vocabulary = _rows(model), tokenizer.get_vocab().values()
    if rows is None:
        return
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    used = set(vocabulary) - special | set(tokenizer("")["input_ids"])  # the special ones that every text gets
    if max(used) >= rows:
        raise SlatError(
            f"model.name: cannot load {name!r}: its tokenizer numbers tokens up to {max(used):,}, and the model has "
            f"embeddings for {rows:,}; the tokenizer is that of another model, or it has grown and the model has not "
            "(`resize_token_embeddings`)"
        )
    if tokenizer.pad_token_id >= rows:  # added, and never embedded; what is padded is masked anyway
        _pad(tokenizer, highest=rows - 1)
    other = [
        kind
        for kind in _SPECIAL
        if isinstance(tokenizer_id := getattr(tokenizer, f"{kind}_token_id"), int)
        and isinstance(model_id := getattr(model.config, f"{kind}_token_id", None), int)
        and tokenizer_id != model_id
    ]
    few = f"{name!r}: its tokenizer has {len(vocabulary):,} tokens, and the model has embeddings for {rows:,}"
    if len(vocabulary) < 0.5 * rows or (other and len(vocabulary) < 0.9 * rows):
        raise SlatError(f"model.name: cannot load {few}; the tokenizer is that of another model, or cut off")
    if len(vocabulary) < 0.9 * rows:
        warnings.warn(f"model {few}; is it that of another model?", stacklevel=2)


class _UnfitError(Exception):
    """A fault found by this library."""


@contextmanager
def _one_sentence(source: Source) -> Iterator[None]:
    """Raise what is wrong as one sentence. Libraries raise errors of many kinds, which name no file: where a damaged
    one is seen, that is said instead."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except SlatError:
        raise
    except _UnfitError as error:
        raise SlatError(f"model.name: cannot load {source.name!r}: {error}") from error
    except Exception as error:
        raise SlatError(f"model.name: cannot load {source.name!r}: {_fault(source) or _reason(error)}") from error
    finally:
        transformers_logging.set_verbosity(level)


def _fault(source: Source) -> str:
    return fault(source.path, source.revision)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "trust_remote_code" in str(error):
        return f"it needs code of its own, which {_NOT_RUN}"
    if "weights_only" in str(error):
        return "pytorch_model.bin holds more than weights (a whole pickled model?); save them by `save_pretrained`"
    if "sentencepiece" in str(error):
        return "its tokenizer is read with a package that is missing: `pip install sentencepiece tiktoken`"
    return f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def _merges(tokenizer: Any) -> bool:
    """Whether a tokenizer of byte pairs has any; the other kinds need none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ != "BPE":
        return True
    return bool(json.loads(backend.to_str())["model"].get("merges"))


def _pad(tokenizer: Any, highest: int) -> None:
    """Let the tokenizer pad with a special token up to ``highest``; the mask hides what is padded, so any will do."""
    for kind in ("pad", "eos", "bos", "sep", "cls", "unk"):
        number = getattr(tokenizer, f"{kind}_token_id")
        if number is not None and number <= highest:
            if kind != "pad":
                tokenizer.pad_token = getattr(tokenizer, f"{kind}_token")
            return
    raise _UnfitError("its tokenizer has no token to pad with; name a `pad_token` in its tokenizer_config.json")


def _rows(model: PreTrainedModel) -> int | None:
    """Tokens that have an embedding; None where they are not looked up in a table."""
    try:
        weight = getattr(model.get_input_embeddings(), "weight", None)
    except NotImplementedError:
        return None
    return len(weight) if weight is not None and weight.ndim == 2 else None


def _check_weights(model: PreTrainedModel, report: dict[str, Any], encoder: str, heads: bool) -> None:
    """Raise for what the files do not say of ``model``, whose names there begin with ``encoder``; of its heads only if
    they are used."""
    kind = type(model).__name__
    for key, there, here in sorted(report["mismatched_keys"]):
        if _wanted(key, encoder, heads):
            raise _UnfitError(
                f"its weights do not fit its config.json: {key} is {_shape(there)}, and {_shape(here)} in a {kind} "
                f"of that configuration{_others(report['mismatched_keys'])}"
            )
    missing = sorted(key for key in report["missing_keys"] if _wanted(key, encoder, heads))
    unused = sorted(report["unexpected_keys"])
    if any(_ADDED.search(key) for key in unused):
        raise _UnfitError("its weights hold an adapter beside the model's own; merge it into them first")
    if missing:
        raise _UnfitError(f"its weights lack {missing[0]}{_others(missing)} of a {kind}{_renamed(missing, unused)}")
    if report["error_msgs"]:
        raise _UnfitError(str(report["error_msgs"][0]))
    _check_blocks(model, unused)
    for key, value in model.named_parameters():
        if value.is_floating_point() and not torch.isfinite(value).all() and _wanted(key, "", heads):
            raise _UnfitError(f"its weights are damaged: {key} holds NaN or infinity")


def _check_blocks(model: nn.Module, unused: Collection[str]) -> None:
    """Raise where the files have more blocks than the configuration says."""
    path, blocks = find_blocks(model)
    numbers = [int(m[1]) for key in unused if (m := re.search(rf"(?:^|\.){re.escape(path)}\.(\d+)\.", key))]
    if numbers and max(numbers) >= len(blocks):
        raise _UnfitError(
            f"its config.json says {len(blocks)} blocks, and its weights have {max(numbers) + 1}; "
            "correct the one or the other"
        )


def _wanted(key: str, encoder: str, heads: bool) -> bool:
    return key.startswith(encoder) and (heads or not _HEADS.search(key))


def _shape(shape: Collection[int]) -> str:
    return " x ".join(map(str, shape))


def _others(keys: Collection[Any]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""


def _renamed(missing: Collection[str], unused: Collection[str]) -> str:
    """Return the names in the files of what is missing, where that is the same name behind a prefix or deeper down."""
    if inside := sorted(_NESTED & set(unused)):
        return f"; they seem to be inside {inside[0]!r}, so save that alone"
    first = next(iter(missing))
    there = next((key for key in unused if key.endswith(f".{first}")), None)
    return f"; they call it {there}, so take {there.removesuffix(first)!r} off their names" if there else ""
