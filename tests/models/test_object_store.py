"""A frozen model that travels: the same outputs, nothing copied, one copy a process."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from slat_search.models.backbone import Backbone, load_backbone
from slat_search.models.object_store import packed, unpacked
from slat_search.training.context import Context
from tests.structure.test_families import CASES, FAMILIES


@pytest.mark.parametrize("make", [make for make, _ in CASES], ids=[*FAMILIES, "ModernBERT"])
def test_every_family_computes_what_it_did(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = make().requires_grad_(False).eval()
    again = unpacked(pickle.loads(pickle.dumps(packed(model), protocol=5)))
    ids = torch.randint(3, 50, (2, 5))
    assert torch.equal(again(input_ids=ids).last_hidden_state, model(input_ids=ids).last_hidden_state)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    assert again.state_dict().keys() == model.state_dict().keys()


def test_other_types_than_float32() -> None:
    model = next(make for make, _ in CASES)().to(torch.bfloat16).eval()
    again = unpacked(packed(model))
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_weights_are_not_copied(minilm: Backbone) -> None:
    again = unpacked(packed(minilm.model))
    pairs = zip(again.parameters(), minilm.model.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)


def test_buffers_out_of_band_hold_the_weights(minilm: Backbone) -> None:
    """What Ray maps instead of copying."""
    buffers: list[pickle.PickleBuffer] = []
    rest = pickle.dumps(minilm, protocol=5, buffer_callback=buffers.append)
    weights = sum(p.numel() * p.element_size() for p in minilm.model.parameters())
    assert sum(b.raw().nbytes for b in buffers) >= weights
    assert len(rest) < 0.1 * weights  # tokenizer and configuration


def test_a_process_has_one_copy(context: Context) -> None:
    one, two = (pickle.loads(pickle.dumps(context)) for _ in range(2))
    assert one.backbone() is two.backbone()
    other = pickle.loads(pickle.dumps(load_backbone("minilm")))
    assert other is not one.backbone()  # of another loading: its weights may be others
    batch = {"input_ids": torch.tensor([[101, 2000, 102]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    model, other_model = one.backbone().model, context.backbone().model
    batch = {name: value.to(model.device) for name, value in batch.items()}
    assert torch.equal(model(**batch).last_hidden_state, other_model(**batch).last_hidden_state)
