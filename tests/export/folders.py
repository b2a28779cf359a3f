"""Adapter folders with random weights, and the code that the README of an export shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from slat_search.files import check_signature, read_json, save_arrays, signed, write_json
from slat_search.inference.saved import write_adapter
from slat_search.models.backbone import load_backbone
from slat_search.models.registry import model_path
from slat_search.records import Measures
from slat_search.structure import (
    KINDS,
    Structure,
    attach,
    find_sites,
)
from slat_search.training.context import Context
from slat_search.training.digests import weights_digest
from slat_search.training.jobs import TrainingJob, apply_job
from tests.conftest import TEXTS, with_task
from tests.structure.test_kinds import shake

MEASURES = Measures(quality=0.5, quality_perturbed=0.5, retained=1.0, loss=1.25)
HERE = "sentence-transformers/all-MiniLM-L6-v2"


def structure_of(model: nn.Module, *kinds: str) -> Structure:
    """Kinds at two thirds of the sites, in sizes of their own; those that stand alone are among them."""
    chosen = Structure()
    for number, kind in enumerate(kinds):
        for place, site in enumerate(find_sites(model)):
            plain = site.is_norm and not isinstance(model.get_submodule(site.name), nn.LayerNorm)  # RMSNorm
            if KINDS[kind].fits(site) and (place + number) % 3 and not plain:
                chosen |= Structure.at([site], kind, 1 + place % 2 if KINDS[kind].sized else 1)
    return chosen


def _on(context: Context, model: nn.Module, name: str | None) -> Context:
    """The context with another model than the embedded one, by its name."""
    if name is None:
        return context
    told = context.config.model.model_copy(update={"name": name})
    made_from = replace(context.tasks[0].made_from, weights=weights_digest(model))
    config = context.config.model_copy(update={"model": told})
    return with_task(replace(context, config=config), made_from=made_from)


def saved(context: Context, model: nn.Module, folder: Path, *kinds: str, name: str | None = None) -> Path:
    """An adapter folder with random weights in every module."""
    structure = structure_of(model, *kinds)
    adapter = attach(model, structure)
    shake(adapter)
    state = {f"adapter.{n}": p.detach().numpy().copy() for n, p in adapter.named_parameters()}
    adapter.detach()
    width = model.config.hidden_size
    generator = np.random.default_rng(0)
    state |= {"head.weight": generator.normal(size=(5, width)).astype(np.float32) / width**0.5}
    state |= {"head.bias": np.arange(5, dtype=np.float32) / 5}
    context = _on(context, model, name)
    job = TrainingJob("slat", "slat-test", 0.003, 0, options={"structure": structure.to_dict()})
    write_adapter(folder, context, job, state, MEASURES)
    return folder


def saved_baseline(
    context: Context, model: nn.Module, folder: Path, method: str, name: str | None = None, **options: Any
) -> Path:
    """An adapter folder of a hand-made method, with random weights in all that it trains."""
    context = _on(context, model, name)
    job = TrainingJob(method, method, 0.003, 0, options=options)
    applied = apply_job(job, model)
    generator = torch.Generator().manual_seed(0)
    state = {
        f"adapter.{name}": (p.detach() + 0.1 * torch.randn(p.shape, generator=generator)).numpy()
        for name, p in applied.trained().items()
    }
    applied.undo()
    state |= {
        "head.weight": np.eye(5, model.config.hidden_size, dtype=np.float32),
        "head.bias": np.arange(5, dtype=np.float32) / 5,
    }
    write_adapter(folder, context, job, state, MEASURES)
    return folder


def code_of(out: Path, pair: bool = False) -> str:
    """The README's code, its model in the package in the place of the hub's, on the tests' texts."""
    if (out / "adapter_config.json").is_file():
        as_if_on_the_hub(out)
    code, *_ = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    texts = repr(list(TEXTS)) + (f", {list(reversed(TEXTS))!r}" if pair else "")
    shown = '["first text"], ["second text"]' if pair else '["a text", "another"]'
    assert code.count(shown) == 1
    return code.replace(HERE, model_path("minilm")).replace(shown, texts)


def code_with_a_head(out: Path) -> str:
    """The README's piece of code with a head of its own, likewise."""
    return piece(out, "num_labels=").replace(HERE, model_path("minilm"))


def piece(out: Path, holds: str) -> str:
    """The one piece of code in the README that holds some text."""
    pieces = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    (code,) = [code for code in pieces if holds in code]
    return code


def as_if_on_the_hub(out: Path) -> None:
    """Let an adapter of peft name the model in the package in the place of the hub's, which classes of peft load."""
    config = out / "adapter_config.json"
    config.write_text(config.read_text().replace(HERE, model_path("minilm")))


@contextmanager
def description_of(folder: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The content of ``adapter.json`` and its only task, to be changed; it is written as if it had been saved so."""
    description = check_signature(read_json(folder / "adapter.json"), folder)
    (task,) = description["tasks"].values()
    yield description, task
    write_json(folder / "adapter.json", signed(description))


def rewrite(folder: Path, state: dict[str, np.ndarray]) -> None:
    """Write an adapter folder again with other weights, as if it had been saved so."""
    with description_of(folder) as (description, _):
        description["weights"] = save_arrays(folder / "adapter.safetensors", state)


def retold(folder: Path, pooling: str = "mean", pair: bool = False, regression: bool = False) -> Path:
    """Change what an adapter folder says of its task; a regression keeps the first row of the head."""
    with description_of(folder) as (description, task):
        description["model"]["pooling"], task["columns"] = pooling, ["text"] * (1 + pair)
        if regression:
            task["labels"], task["scale"] = [], [3.5, 1.25]
    if regression:
        state = load_file(folder / "adapter.safetensors")
        rewrite(folder, {n: v[:1].copy() if n.startswith("head.") else v for n, v in state.items()})
    return folder


def larger(model: nn.Module) -> None:
    """Let random weights be ten times as large as they begin, so that texts differ in what is said of them."""
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 10


def with_model(make: Callable[[], nn.Module], tokenizer: Any, folder: Path) -> nn.Module:
    """A small model with random weights in a folder, as a user's own model is, and loaded as we do."""
    torch.manual_seed(0)
    model = make()
    larger(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_backbone(str(folder)).model
