"""The forms that an adapter is exported in, and the folder that holds one."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from peft import PeftModel
from safetensors.torch import save_file
from torch import nn

from ..errors import SlatError
from .card import card
from .loaded import LoadedAdapter, stand
from .to_peft import as_peft, only_here

_TOLERANCE = 1e-3  # of token vectors, for each 1 of the largest: merged weights round differently


def _merged(standing: LoadedAdapter, out: Path) -> Callable[[], nn.Module]:
    kind = type(standing.model) if standing.is_taken_out else getattr(transformers, standing.loader)

    def again() -> nn.Module:
        return kind.from_pretrained(out)

    adapter = standing.adapter
    if isinstance(adapter, PeftModel):
        adapter.merge_and_unload().save_pretrained(out)
        return again
    left = adapter.merge()
    adapter.detach()
    if left.modules:
        kinds = sorted({m.kind for m in left.modules})
        raise SlatError(
            f"export: this adapter's {', '.join(kinds)} cannot be merged into the model; a search with "
            "`search.space.kinds: [lora]` finds what can"
        )
    standing.model.save_pretrained(out)
    return again


def _peft(standing: LoadedAdapter, out: Path) -> Callable[[], nn.Module]:
    wrapped = as_peft(standing)
    only_here(wrapped)
    wrapped.save_pretrained(out, save_embedding_layers=False)  # which it would ask the hub about
    (out / "README.md").unlink(missing_ok=True)  # peft's, a form to fill in
    return lambda: PeftModel.from_pretrained(standing.bare(), out)


#: form -> writes it, and returns how to load what was written
FORMS: dict[str, Callable[[LoadedAdapter, Path], Callable[[], nn.Module]]] = {"merged": _merged, "peft": _peft}


def export(adapter: Path, out: Path, form: str) -> None:
    """Write an adapter folder in another form: model or adapter, tokenizer, ``head.safetensors``, and a ``README.md``
    that shows how to use them without this library.

    What was written is loaded again and must give the same token vectors.

    Args:
        adapter: a folder that :func:`.save_bundle` wrote.
        out: a folder that is not there yet, or empty.
        form: ``merged``: the model with the adapter in its own weights, for transformers alone. ``peft``: an adapter
            of the peft library.

    Raises:
        SlatError: not an adapter folder; modules that the form cannot hold; a model that does not keep what was
            merged into it; or ``out`` is not empty.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SlatError(f"--out: {out} is not an empty folder; choose another")
    standing = stand(adapter)
    expected = standing.vectors(standing.model)
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft uses what transformers has renamed
            warnings.filterwarnings("ignore", "Adapter .* invalid shape", UserWarning)  # and takes biases for shards
            again = FORMS[form](standing, unfinished)()
        furthest = float((standing.vectors(again) - expected).abs().max() / expected.abs().max().clamp(min=1))
        if not furthest <= _TOLERANCE:
            raise SlatError(
                f"export: loaded again, the model's vectors are up to {furthest:.2g} off; {type(again).__name__} does "
                "not keep all that was merged into it (a bias where its class has none?)"
            )
        standing.tokenizer.save_pretrained(unfinished)
        save_file({name: value.contiguous() for name, value in standing.head.items()}, unfinished / "head.safetensors")
        told: dict[str, Any] = {
            name: standing.description[name] for name in ("labels", "scale", "max_length", "measures")
        }
        (unfinished / "head.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        (unfinished / "README.md").write_text(card(standing, form), encoding="utf-8")
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
