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

_TOLERANCE = 1e-3  # of token vectors, or of logits, for each 1 of the largest: merged weights round differently
#: loads the export
Again = Callable[[], nn.Module]


@dataclass(frozen=True)
class Exported:
    """A written export.

    Attributes:
        out: the folder.
        task_type: of the class that loads it, as peft calls it.
        reason: why that is no class for classification, in one sentence; empty where it is one, or was not asked for.
    """

    out: Path
    task_type: str
    reason: str


def _merged(loaded: LoadedAdapter, target: Target, out: Path) -> Again:
    adapter = loaded.adapter
    if isinstance(adapter, PeftModel):
        backbone = adapter.merge_and_unload()
    else:
        left = adapter.merge()
        adapter.detach()
        if left.modules:
            kinds = sorted({m.kind for m in left.modules})
            raise SlatError(
                f"export: this adapter's {', '.join(kinds)} cannot be merged into the model; a search with "
                "`search.space.kinds: [spectral+lora+norm+bias]` finds what can"
            )
        backbone = loaded.model
    whole = target.with_backbone(backbone)
    whole.save_pretrained(out)
    plain = target.task_type in CLASSES or loaded.is_taken_out
    kind = type(whole) if plain else getattr(transformers, loaded.loader)
    return lambda: kind.from_pretrained(out, trust_remote_code=False)


def _peft(loaded: LoadedAdapter, target: Target, out: Path, uniform_rank: bool) -> Again:
    base_name, _ = loaded.published
    if isinstance(loaded.adapter, PeftModel):
        if uniform_rank:
            raise SlatError("export: one rank for all is for adapters of this library's structures, not for peft's own")
        wrapped = on_class(loaded.adapter, target)
        wrapped.peft_config["default"].base_model_name_or_path = base_name
        only_here(wrapped)
        write_peft(wrapped, out)
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

    Where a class of transformers for classification can hold the head, the export is made for that class, and the class
    gives the probabilities of the adapter. Else it is made for the model without a head, with the head beside it in
    ``head.safetensors`` and in the layout of sentence-transformers. What was written is loaded again and must compute
    the same.

    Args:
        adapter: a folder that :func:`.write_adapter` wrote.
        out: a folder that is not there yet, or empty.
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
    with whole_folder(out) as unfinished:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses what transformers has renamed
            warnings.filterwarnings("ignore", "Adapter .* invalid shape", UserWarning)  # see write_peft
            if form == "merged":
                again = _merged(loaded, target, unfinished)()
            else:
                again = _peft(loaded, target, unfinished, uniform_rank)()
        _check(loaded, target, again, expected)
        _write_rest(loaded, target, unfinished, form)
        _check_head(loaded, target, unfinished)
        with_layout = (unfinished / "modules.json").is_file()
        license = license or license_of(loaded.base)
        facts = Export(loaded, form, target, uniform_rank, with_layout, license, read_facts(adapter))
        (unfinished / "README.md").write_text(card(facts), encoding="utf-8")
    return Exported(out, target.task_type, target.reason)


@torch.inference_mode()
def _check(loaded: LoadedAdapter, target: Target, again: nn.Module, expected: Tensor) -> None:
    """Raise if a reloaded model does not compute what the adapter did."""
    plain: Any = again.get_base_model() if isinstance(again, PeftModel) else again
    name = type(plain).__name__
    if target.task_type == "SEQ_CLS":
        batch, head = loaded.batch(), head_of(loaded)
        logits = head.logits(expected, batch["attention_mask"])
        off, what = head.differs(again.eval()(**batch).logits, logits), "logits"
    else:
        plain_vectors = loaded.vectors(target.inside(plain))
        off, what = float((plain_vectors - expected).abs().max() / expected.abs().max().clamp(min=1)), "vectors"
    if not off <= _TOLERANCE:
        raise SlatError(
            f"export: loaded again, the model's {what} are up to {off:.2g} off; {name} does not keep all that was "
            "merged into it (a bias where its class has none?)"
        )


def _check_head(loaded: LoadedAdapter, target: Target, out: Path) -> None:
    """Raise where the head that lies beside a model, loaded again, is not the adapter's."""
    if loaded.is_prompted or target.task_type == "SEQ_CLS":  # no head, or one in the class, whose logits are compared
        return
    again = load_file(out / "head.safetensors")
    if again.keys() != loaded.head.keys() or not all(torch.equal(again[n], v) for n, v in loaded.head.items()):
        raise SlatError(f"export: loaded again, the head in {out / 'head.safetensors'} is not that of the adapter")


def _write_rest(loaded: LoadedAdapter, target: Target, out: Path, form: str) -> None:
    """Tokenizer, head and facts on it."""
    task, tokenizer = loaded.task, loaded.tokenizer
    tokenizer.model_max_length = task.max_length
    tokenizer.padding_side = "left" if loaded.is_prompted else "right"
    if len(task.columns) == 1:  # as in training; GPT-2 would add them to its embeddings
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
    loads = loaded.loader == "AutoModel" and not loaded.is_taken_out and not (gguf and form == "peft")
    if target.task_type == "FEATURE_EXTRACTION" and loads:
        write_sentence_layout(out, head, task.max_length)
