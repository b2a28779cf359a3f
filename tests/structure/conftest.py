"""A tiny model of a real class for what is tried many times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import transformers as hf
from torch import nn

from tests.structure.test_families import SMALL


@pytest.fixture
def bare() -> Iterator[nn.Module]:
    """A model, which a test must leave without hooks."""
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig(**SMALL), add_pooling_layer=False).requires_grad_(False).eval()
    yield model
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
