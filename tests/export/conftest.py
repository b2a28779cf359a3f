"""Adapters on small models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from slat_search.models.backbone import Backbone
from slat_search.training.context import Context
from tests.export.folders import retold, saved, with_model


@pytest.fixture
def small(context: Context, minilm: Backbone, tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of an adapter on a small model."""

    def make(model: Callable[[], nn.Module], *kinds: str, **fields: Any) -> Path:
        loaded = with_model(model, minilm.tokenizer, tmp_path / "model")
        folder = saved(context, loaded, tmp_path / "adapter", *kinds, name=str(tmp_path / "model"))
        return retold(folder, **fields)

    return make
