"""Shared fixtures: the real small encoder, and little slices of the real text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from transformers import PreTrainedModel

from slat_search.config import Config
from slat_search.models.backbone import Backbone, load_backbone
from slat_search.structure import Site, find_sites
from slat_search.training.context import Context, prepare
from tests.whole import finish, start

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side: a thread each, and no run waits for all the others
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("RAY_worker_niceness", "0")
else:
    torch.set_num_threads(2)

TEXTS = (
    "Markets fall after a surprise rise in interest rates",
    "Chelsea win away",
    "Film festival opens with a documentary on the history of jazz in New Orleans",
)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tokens of tests go to a folder of theirs, for subprocesses too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLAT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def minilm() -> Backbone:
    return load_backbone("minilm")


@pytest.fixture
def backbone(minilm: Backbone) -> Iterator[PreTrainedModel]:
    """The encoder, which a test must leave as it found it."""
    before = {name: value.clone() for name, value in minilm.model.state_dict().items()}
    yield minilm.model.eval()
    after = minilm.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in minilm.model.modules())


@pytest.fixture(scope="session")
def sites(minilm: Backbone) -> tuple[Site, ...]:
    return find_sites(minilm.model)


@pytest.fixture(scope="session")
def batch(minilm: Backbone) -> dict[str, torch.Tensor]:
    """Three real headlines of different length, padded."""
    return dict(minilm.tokenizer(list(TEXTS), padding=True, return_tensors="pt"))


def small_config(**changes: object) -> Config:
    """A whole run in little: real model and text, few rows, few steps."""
    fields = {
        "name": "small",
        "task": {"name": "bbc-headline", "max_rows": 96},
        "training": {"steps": 10, "batch_size": 16},
        "search": {
            "trials": 4,
            "num_selected": 2,
            "refit_learning_rates": [0.003, 0.01],
            "space": {"sparsity": {"low": 0.01, "high": 0.1}},  # in so few steps more leaves nothing
        },
        "baselines": [
            {"method": "lora", "size": 2, "learning_rates": [0.003, 0.01]},
            {"method": "head", "learning_rates": [0.01]},
        ],
        "evaluation": {"ratios": [0.1, 0.2]},
        "sensitivity": {"weights": [0, 1], "noise_ratios": [0.2], "learning_rates": [0.002], "screening": 4},
    }
    return Config.model_validate({**fields, **changes})


def tiny_config() -> Config:
    """The smallest run that has every stage."""
    return small_config(
        task={"name": "bbc-headline", "max_rows": 48},
        training={"steps": 4, "batch_size": 8},
        search={"trials": 2, "num_selected": 1, "refit_learning_rates": [0.003]},
        baselines=[{"method": "lora", "size": 2, "learning_rates": [0.003]}],
        evaluation={"ratios": [0.1]},
    )


@pytest.fixture(scope="session")
def context() -> Context:
    return prepare(small_config())[0]


def with_task(context: Context, **fields: Any) -> Context:
    """The context with other fields of its only task."""
    return replace(context, tasks=(replace(context.tasks[0], **fields),))


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(small_config().to_yaml())
    return path


@pytest.fixture(scope="session")
def run(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run and what it printed; made once for all processes of the tests, each of which has a copy."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    whole, printed = place / "finished" / "small", place / "finished.txt"
    with FileLock(place / "finished.lock"):
        if not printed.exists():
            printed.write_text(finish(start(config, whole)))
    out = tmp_path_factory.mktemp("runs") / "small"
    shutil.copytree(whole, out, symlinks=True)
    return out, printed.read_text().replace(str(whole), str(out))
