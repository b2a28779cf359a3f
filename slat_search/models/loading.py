"""Load a model and its tokenizer completely: missing parts of files, and parts that do not fit together, are errors.

The libraries would continue with random weights, or with a tokenizer without a vocabulary.
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

#: keys of modules after the last hidden state, which is the output that we use of a model
_HEAD_KEYS = re.compile(
    r"(^|\.)(pooler|cls|classifier|score|lm_head|qa_outputs|seq_relationship|sequence_summary)(\.|$)"
)
#: keys of adapters
_ADAPTER_KEYS = re.compile(r"\.(lora_\w+|base_layer|adapters?|ia3_l|vera_lambda_\w)\b")
_NO_TOKENIZER = (
    "it has no tokenizer (tokenizer.json, vocab.txt or the like); put the one that the model was trained with into the "
    "folder, by its `save_pretrained`"
)
_CODE_NOT_RUN = "is not run; `model.trust_remote_code: true` in a configuration of your own allows it"
_SPECIAL_TOKENS = ("pad", "bos", "eos", "cls", "sep")
#: keys under which checkpoints of a training keep the weights
_CHECKPOINT_KEYS = {"state_dict", "model_state_dict", "model", "module"}
_MIN_MERGED_TOKENS = 1000  # a larger vocabulary has been merged from bytes or characters


def read_config(source: Source) -> PreTrainedConfig:
    """Return the configuration of a text model.

    Raises:
        SlatError: missing or broken, of an unknown kind of model, or of a model of images or sound.
    """
    if reason := without_config(source.path) or pointer(source.path, source.revision):
        raise SlatError(f"model.name: cannot load {source.name!r}: {reason}")
    with _one_line_errors(source):
        config = transformers.AutoConfig.from_pretrained(source.path, **source.options)
        attention = getattr(config, "_attn_implementation", None)
        if isinstance(attention, str) and "/" in attention and not source.trust_remote_code:
            raise _UnfitError(f"its attention is code of {attention} on the hub, which {_CODE_NOT_RUN}")
        if not isinstance(getattr(config, "hidden_size", None), int):
            raise _UnfitError(f"{config.model_type} is no model of text alone")
    return config


def read_tokenizer(source: Source) -> Any:
    """Return the tokenizer of a model, with a padding token.

    Raises:
        SlatError: its files are missing or damaged, or it has no special token at all.
    """
    with _one_line_errors(source):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(source.path, **source.options)
        except Exception as error:
            if has_tokenizer(source.path, source.revision):
                raise
            raise _UnfitError(_NO_TOKENIZER) from error
        token_ids = set(tokenizer.get_vocab().values())
        if len(token_ids - set(tokenizer.added_tokens_decoder)) <= 1:  # the empty vocabulary of T5 keeps the space
            raise _UnfitError(_NO_TOKENIZER)
        if len(token_ids) > _MIN_MERGED_TOKENS and not _has_merges(tokenizer):
            raise _UnfitError("its tokenizer has a vocabulary and no merges; is merges.txt missing?")
        _set_pad_token(tokenizer, highest=max(token_ids))
    return tokenizer


def read_model(source: Source, config: PreTrainedConfig, weights: str, causal: bool = False) -> PreTrainedModel:
    """Return the model without a task head; of an encoder-decoder the encoder.

    Args:
        weights: ``float32`` or ``bfloat16``, whatever format the model was saved in.
        causal: return a causal language model with the head that predicts the next token.

    Raises:
        SlatError: weights that are missing, damaged, or do not fit the configuration.
    """
    with _one_line_errors(source):
        if causal and not is_causal(config):
            raise _UnfitError(f"a prompt needs a causal language model, and {config.model_type} is none")
        model, report = (transformers.AutoModelForCausalLM if causal else text_model(config)).from_pretrained(
            source.path,
            config=config,
            dtype=weights,
            **source.options,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # _check_weights reports them by name
        )
        encoder = ""
        if needs_encoder(config) and not causal:
            full_model, model = model, model.get_encoder()
            if not isinstance(model, transformers.PreTrainedModel):
                raise _UnfitError(f"the encoder of {type(full_model).__name__} cannot be used alone")
            encoder = next(f"{path}." for path, module in full_model.named_modules() if module is model)
        if model.main_input_name != "input_ids":
            raise _UnfitError(f"{config.model_type} is no model of text alone")
        _check_weights(model, report, encoder, causal)
    return model


def check_fit(model: PreTrainedModel, tokenizer: Any, name: str) -> None:
    """Check that the model has an embedding for every token.

    Raises:
        SlatError: a token has no embedding, or the tokenizer is clearly that of another model.
    """
    rows, vocabulary = _embedding_rows(model), tokenizer.get_vocab().values()
    if rows is None:
        return
    special_ids = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    used_ids = set(vocabulary) - special_ids | set(tokenizer("")["input_ids"])  # and special ones of every text
    if max(used_ids) >= rows:
        raise SlatError(
            f"model.name: cannot load {name!r}: its tokenizer numbers tokens up to {max(used_ids):,}, and the model "
            f"has embeddings for {rows:,}; the tokenizer is that of another model, or it has grown and the model has "
            "not (`resize_token_embeddings`)"
        )
    if tokenizer.pad_token_id >= rows:  # it was added without an embedding; padding is masked anyway
        _set_pad_token(tokenizer, highest=rows - 1)
    conflicts = [
        kind
        for kind in _SPECIAL_TOKENS
        if isinstance(tokenizer_id := getattr(tokenizer, f"{kind}_token_id"), int)
        and isinstance(model_id := getattr(model.config, f"{kind}_token_id", None), int)
        and tokenizer_id != model_id
    ]
    mismatch = f"{name!r}: its tokenizer has {len(vocabulary):,} tokens, and the model has embeddings for {rows:,}"
    if len(vocabulary) < 0.5 * rows or (conflicts and len(vocabulary) < 0.9 * rows):
        raise SlatError(f"model.name: cannot load {mismatch}; the tokenizer is that of another model, or cut off")
    if len(vocabulary) < 0.9 * rows:
        warnings.warn(f"model {mismatch}; is it that of another model?", stacklevel=2)


class _UnfitError(Exception):
    """A fault that this package has found."""


@contextmanager
def _one_line_errors(source: Source) -> Iterator[None]:
    """Raise every error as one sentence. Errors of libraries are of many kinds and name no file; if there is a damaged
    file, it is reported instead."""
    verbosity = transformers_logging.get_verbosity()
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
        transformers_logging.set_verbosity(verbosity)


def _fault(source: Source) -> str:
    return fault(source.path, source.revision)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "trust_remote_code" in str(error):
        return f"it needs code of its own, which {_CODE_NOT_RUN}"
    if "weights_only" in str(error):
        return "pytorch_model.bin holds more than weights (a whole pickled model?); save them by `save_pretrained`"
    if "sentencepiece" in str(error):
        return "its tokenizer is read with a package that is missing: `pip install sentencepiece tiktoken`"
    return f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def _has_merges(tokenizer: Any) -> bool:
    """Return whether a tokenizer has the merges that it needs; only those of byte pairs need any."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(backend.model).__name__ != "BPE":
        return True
    return bool(json.loads(backend.to_str())["model"].get("merges"))


def _set_pad_token(tokenizer: Any, highest: int) -> None:
    """Let the tokenizer pad with a special token up to number ``highest``; padding is masked, so any will do."""
    for kind in ("pad", "eos", "bos", "sep", "cls", "unk"):
        number = getattr(tokenizer, f"{kind}_token_id")
        if number is not None and number <= highest:
            if kind != "pad":
                tokenizer.pad_token = getattr(tokenizer, f"{kind}_token")
            return
    raise _UnfitError("its tokenizer has no token to pad with; name a `pad_token` in its tokenizer_config.json")


def _embedding_rows(model: PreTrainedModel) -> int | None:
    """Return the number of tokens that have an embedding; None where embeddings are not in a table."""
    try:
        weight = getattr(model.get_input_embeddings(), "weight", None)
    except NotImplementedError:
        return None
    return len(weight) if weight is not None and weight.ndim == 2 else None


def _check_weights(model: PreTrainedModel, report: dict[str, Any], encoder: str, heads: bool) -> None:
    """Raise for weights of ``model`` that are missing, damaged or do not fit.

    Args:
        report: report of transformers on loading.
        encoder: prefix of the names of the weights in ``report``.
        heads: whether the heads of the model are used, and checked as well.
    """
    class_name = type(model).__name__
    for key, file_shape, model_shape in sorted(report["mismatched_keys"]):
        if _is_needed(key, encoder, heads):
            raise _UnfitError(
                f"its weights do not fit its config.json: {key} is {_format_shape(file_shape)}, and "
                f"{_format_shape(model_shape)} in a {class_name} of that configuration"
                f"{_count_more(report['mismatched_keys'])}"
            )
    missing = sorted(key for key in report["missing_keys"] if _is_needed(key, encoder, heads))
    unused = sorted(report["unexpected_keys"])
    if any(_ADAPTER_KEYS.search(key) for key in unused):
        raise _UnfitError("its weights hold an adapter beside the model's own; merge it into them first")
    if missing:
        hint = _renaming_hint(missing, unused)
        raise _UnfitError(f"its weights lack {missing[0]}{_count_more(missing)} of a {class_name}{hint}")
    if report["error_msgs"]:
        raise _UnfitError(str(report["error_msgs"][0]))
    _check_blocks(model, unused)
    for key, value in model.named_parameters():
        if value.is_floating_point() and not torch.isfinite(value).all() and _is_needed(key, "", heads):
            raise _UnfitError(f"its weights are damaged: {key} holds NaN or infinity")


def _check_blocks(model: nn.Module, unused: Collection[str]) -> None:
    """Raise if the files have more blocks than the configuration says."""
    path, blocks = find_blocks(model)
    numbers = [int(match[1]) for key in unused if (match := re.search(rf"(?:^|\.){re.escape(path)}\.(\d+)\.", key))]
    if numbers and max(numbers) >= len(blocks):
        raise _UnfitError(
            f"its config.json says {len(blocks)} blocks, and its weights have {max(numbers) + 1}; "
            "correct the one or the other"
        )


def _is_needed(key: str, encoder: str, heads: bool) -> bool:
    return key.startswith(encoder) and (heads or not _HEAD_KEYS.search(key))


def _format_shape(shape: Collection[int]) -> str:
    return " x ".join(map(str, shape))


def _count_more(keys: Collection[Any]) -> str:
    return f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""


def _renaming_hint(missing: Collection[str], unused: Collection[str]) -> str:
    """Return a hint on missing weights that the files hold under another prefix or deeper down; else an empty text."""
    if nested := sorted(_CHECKPOINT_KEYS & set(unused)):
        return f"; they seem to be inside {nested[0]!r}, so save that alone"
    name = next(iter(missing))
    file_key = next((key for key in unused if key.endswith(f".{name}")), None)
    return f"; they call it {file_key}, so take {file_key.removesuffix(name)!r} off their names" if file_key else ""
