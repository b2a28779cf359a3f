"""Saved adapters of every version, and what is read of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from safetensors.numpy import save_file

from slat_search.files import write_json
from slat_search.inference.adapter_file import load_adapter, save_adapter
from slat_search.inference.saved import naming, read_saved, write_saved
from slat_search.records import SavedAdapter, TrainingJob
from slat_search.structure import SharedStructure, Structure, attach, find_sites
from slat_search.training.jobs import apply_job, load_state
from tests.conftest import small_config
from tests.records import test_records as records

TASKS = ("one", "two")


@cache
def tiny() -> hf.PreTrainedModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
    return hf.BertModel(hf.BertConfig(vocab_size=64, max_position_embeddings=16, **shape)).eval()


@cache
def structure() -> Structure:
    sites = find_sites(tiny())
    return Structure.lora(sites, r=2) | Structure.bitfit(sites[:3]) | Structure.cores(sites[:1], 2)


def _job(*tasks: str) -> TrainingJob:
    whole = SharedStructure.everything(tasks, structure()) if tasks else structure()
    return TrainingJob("slat", "slat-test", 0.003, 0, options={"structure": whole.to_dict()})


def _weights(job: TrainingJob) -> dict[str, np.ndarray]:
    applied = apply_job(job, tiny())
    state = {f"adapter.{name}": value.detach().numpy().copy() for name, value in applied.saved().items()}
    applied.undo()
    rng = np.random.default_rng(0)
    return state | {"head.weight": rng.normal(size=(2, 16)).astype(np.float32), "head.bias": np.ones(2, np.float32)}


def saved_adapter(*tasks: str) -> Callable[[Path], None]:
    """Write an adapter of several tasks; of one task where none are named."""
    task = {
        "labels": ["a", "b"], "scale": [0.0, 1.0], "max_length": 64, "columns": ["text"], "prompt": None,
        "measures": records.MEASURES, "digests": {"train": "c"},
    }  # fmt: skip

    def make(folder: Path) -> None:
        job = _job(*tasks)
        fields = {"model": small_config().model.model_dump(), "job": asdict(job), "digests": {"weights": "a"}}
        saved = SavedAdapter.model_validate({**fields, "tasks": dict.fromkeys(tasks or ("one",), task)})
        write_saved(folder, saved, _weights(job))

    return make


def earlier_adapter(number: int, *tasks: str) -> Callable[[Path], None]:
    """Write an adapter as versions 1 to 3 did; of several tasks where they are named."""

    def make(folder: Path) -> None:
        job, model = _job(), small_config().model.model_dump()
        raw: dict[str, Any] = {
            "format": f"slat-adapter/{number}", "model": model, "labels": ["a", "b"], "scale": [0.0, 1.0],
            "max_length": 64, "unit": asdict(job), "measures": records.MEASURES,
            **({"texts": 1} if number == 1 else {"columns": ["text"], "made_from": {"weights": "a", "texts": {}}}),
        }  # fmt: skip
        name, job = ("shared", _job(*tasks)) if tasks else ("adapter", job)
        if tasks:
            form = {"format": f"slat-pool/{number}", "model": model, "structure": job.options["structure"]}
            raw = {**form, "tasks": dict.fromkeys(tasks, raw)}
        write_json(folder / f"{name}.json", raw)
        save_file(_weights(job), folder / f"{name}.safetensors")

    return make


def used_adapter(path: Path) -> Any:
    """Put a saved adapter on its model, as a predictor does."""
    saved, state = read_saved(path.parent)
    with naming("adapter", path.parent):
        applied = apply_job(saved.job, tiny())
        try:
            load_state([], applied, state)
        finally:
            applied.undo()
    return saved, {name: value.tobytes() for name, value in state.items()}


def adapter_file(folder: Path) -> Path:
    adapter = attach(tiny(), structure())
    path = save_adapter(adapter, folder)
    adapter.detach()
    return path


def read_adapter_file(path: Path) -> Any:
    adapter = load_adapter(tiny(), path)
    adapter.detach()
    return adapter.structure, {name: value.numpy().tobytes() for name, value in adapter.state_dict().items()}
