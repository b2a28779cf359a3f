"""The forms that an adapter is exported in, and the folder that holds one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import SlatError
from ..files import whole_folder
from .card import Export, card
from .facts import license_of, read_facts
from .loaded import LoadedAdapter, facts_json, load_for_export
from .peft_config import only_here
from .peft_methods import headless_reason, on_class
from .prompted import prompt_facts
from .sentence_layout import write_sentence_layout
from .target import Target, choose_target, head_of, load_again
from .to_peft import CLASSES, check_empty, to_peft, write_peft

_TOLERANCE = 1e-3  # of token vectors or logits, relative to the largest: merged weights round differently
#: function that loads the export
Loader = Callable[[], nn.Module]


@dataclass(frozen=True)
class Exported:
    """A written export.

    Attributes:
        out: folder of the export.
        task_type: task type, in the terms of peft, of the class that loads the export.
        reason: reason why that is no class for classification, in one sentence; empty if it is one, or if another class
            was asked for.
    """

    out: Path
    task_type: str
    reason: str


def _write_merged(loaded: LoadedAdapter, target: Target, out: Path) -> Loader:
    adapter = loaded.adapter
    if isinstance(adapter, PeftModel):
        backbone = adapter.merge_and_unload()
    else:
        remainder = adapter.merge()
        adapter.detach()
        if remainder.modules:
            kinds = sorted({m.kind for m in remainder.modules})
            raise SlatError(
                f"export: this adapter's {', '.join(kinds)} cannot be merged into the model; a search with "
                "`search.space.kinds: [spectral+lora+norm+bias]` finds what can"
            )
        backbone = loaded.model
    model = target.with_backbone(backbone)
    model.save_pretrained(out)
    is_own_class = target.task_type in CLASSES or loaded.is_taken_out
    loader = type(model) if is_own_class else getattr(transformers, loaded.loader)
    return lambda: loader.from_pretrained(out, trust_remote_code=False)


def _write_peft_adapter(loaded: LoadedAdapter, target: Target, out: Path, uniform_rank: bool) -> Loader:
    base_name, _ = loaded.published
    if isinstance(loaded.adapter, PeftModel):
        if uniform_rank:
            raise SlatError("export: one rank for all is for adapters of this library's structures, not for peft's own")
        peft_model = on_class(loaded.adapter, target)
        peft_model.peft_config["default"].base_model_name_or_path = base_name
        only_here(peft_model)
        write_peft(peft_model, out)
    else:
        to_peft(
            loaded.adapter,
            target.model,
            task_type=target.task_type,
            modules_to_save=target.saved,
            uniform_rank=uniform_rank,
            base_name=base_name,
            out=out,
        )
    return lambda: PeftModel.from_pretrained(load_again(loaded, target), out)


def export(
    adapter: Path,
    out: Path,
    form: str,
    *,
    task_type: str | None = None,
    uniform_rank: bool = False,
    license: str | None = None,
) -> Exported:
    """Write an adapter folder in another form: model or adapter, tokenizer, head, and a ``README.md`` that shows how to
    use them without this library.

    If a class of transformers for classification can hold the head, the export is made for that class, and the class
    gives the probabilities of the adapter. Else it is made for the model without a head, with the head beside it in
    ``head.safetensors`` and in the layout of sentence-transformers. The export is loaded again and must compute the
    same.

    Args:
        adapter: folder that :func:`.write_adapter` wrote.
        out: folder that does not exist yet, or is empty.
        form: ``merged``: the model with the adapter in its own weights, for transformers alone. ``peft``: an adapter
            of the peft library.
        task_type: ``SEQ_CLS``, ``CAUSAL_LM`` or ``FEATURE_EXTRACTION``, as peft calls them, to force this class.
        uniform_rank: of form ``peft``: one rank for all, see :func:`.to_peft`.
        license: hub identifier for the README; by default the base model's, if its README is available.

    Raises:
        SlatError: not an adapter folder; modules or a head that the form or class cannot hold; a model that does not
            keep what was merged into it; or ``out`` is not empty.
    """
    out = out.resolve()
    check_empty(out, "--out")
    if uniform_rank and form != "peft":
        raise SlatError("--uniform-rank: is for `--format peft`; what is merged has no ranks")
    loaded = load_for_export(adapter)
    expected = loaded.vectors(loaded.model)
    headless = headless_reason(loaded.adapter) if form == "peft" else ""
    target = choose_target(loaded, task_type, uniform_rank, headless)
    with whole_folder(out) as staging:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses what transformers has renamed
            warnings.filterwarnings("ignore", "Adapter .* invalid shape", UserWarning)  # see write_peft
            if form == "merged":
                reloaded = _write_merged(loaded, target, staging)()
            else:
                reloaded = _write_peft_adapter(loaded, target, staging, uniform_rank)()
        _check_reloaded(loaded, target, reloaded, expected)
        _write_files(loaded, target, staging, form)
        _check_head(loaded, target, staging)
        with_layout = (staging / "modules.json").is_file()
        license = license or license_of(loaded.base)
        card_facts = Export(loaded, form, target, uniform_rank, with_layout, license, read_facts(adapter))
        (staging / "README.md").write_text(card(card_facts), encoding="utf-8")
    return Exported(out, target.task_type, target.reason)


@torch.inference_mode()
def _check_reloaded(loaded: LoadedAdapter, target: Target, reloaded: nn.Module, expected: Tensor) -> None:
    """Raise if a reloaded model does not compute the same as the adapter."""
    model: Any = reloaded.get_base_model() if isinstance(reloaded, PeftModel) else reloaded
    name = type(model).__name__
    if target.task_type == "SEQ_CLS":
        batch, head = loaded.batch(), head_of(loaded)
        logits = head.logits(expected, batch["attention_mask"])
        deviation, quantity = head.differs(reloaded.eval()(**batch).logits, logits), "logits"
    else:
        vectors = loaded.vectors(target.inside(model))
        deviation, quantity = float((vectors - expected).abs().max() / expected.abs().max().clamp(min=1)), "vectors"
    if not deviation <= _TOLERANCE:
        raise SlatError(
            f"export: loaded again, the model's {quantity} are up to {deviation:.2g} off; {name} does not keep all "
            "that was merged into it (a bias where its class has none?)"
        )


def _check_head(loaded: LoadedAdapter, target: Target, out: Path) -> None:
    """Raise if the head beside an exported model, loaded again, is not that of the adapter."""
    if loaded.is_prompted or target.task_type == "SEQ_CLS":  # no head, or one in the class, whose logits are compared
        return
    saved_head = load_file(out / "head.safetensors")
    if saved_head.keys() != loaded.head.keys() or not all(
        torch.equal(saved_head[n], v) for n, v in loaded.head.items()
    ):
        raise SlatError(f"export: loaded again, the head in {out / 'head.safetensors'} is not that of the adapter")


def _write_files(loaded: LoadedAdapter, target: Target, out: Path, form: str) -> None:
    """Write the tokenizer, the head or prompt, and the facts on it."""
    task, tokenizer = loaded.task, loaded.tokenizer
    tokenizer.model_max_length = task.max_length
    tokenizer.padding_side = "left" if loaded.is_prompted else "right"
    if len(task.columns) == 1:  # as in training; GPT-2 would add the types to its embeddings
        inputs = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = inputs
    tokenizer.save_pretrained(out)
    if loaded.is_prompted:
        (out / "prompt.json").write_text(prompt_facts(loaded), encoding="utf-8")
        return
    head = head_of(loaded)
    facts = facts_json(loaded, "labels", "scale", "max_length", "measures")
    (out / "head.json").write_text(facts, encoding="utf-8")
    if target.task_type == "SEQ_CLS":
        if form == "peft":
            (out / "classifier.json").write_text(json.dumps(target.settings, indent=2) + "\n", encoding="utf-8")
        return
    save_file({name: value.contiguous() for name, value in loaded.head.items()}, out / "head.safetensors")
    _, gguf = loaded.published
    is_loadable = loaded.loader == "AutoModel" and not loaded.is_taken_out and not (gguf and form == "peft")
    if target.task_type == "FEATURE_EXTRACTION" and is_loadable:
        write_sentence_layout(out, head, task.max_length)
