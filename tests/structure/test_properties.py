"""What holds for every structure and every state of the gates, on a tiny BERT."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slat_search.structure import (
    GATES,
    KINDS,
    Candidate,
    ModuleOptions,
    SearchOptions,
    Space,
    Structure,
    Supernet,
    attach,
)
from slat_search.structure.sites import find_sites
from tests.structure.test_families import SMALL
from tests.structure.test_kinds import shake

torch.manual_seed(0)
MODEL = hf.BertModel(hf.BertConfig(**SMALL), add_pooling_layer=False).requires_grad_(False).eval()
SITES = find_sites(MODEL)
IDS = torch.tensor([[3, 4, 5, 6, 0], [7, 8, 9, 10, 11]])
MASK = (IDS > 0).long()


def output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=MASK).last_hidden_state


def whole(activation: str, scale: float) -> Structure:
    sized = {kind: Candidate(3, 2) if KINDS[kind].sized else Candidate(1) for kind in KINDS}
    return Space(sized, ModuleOptions(activation, scale)).supernet(SITES)


structures = st.builds(
    lambda activation, scale, share, seed: (w := whole(activation, scale)).random_part(int(share * w.params), seed),
    st.sampled_from(["gelu", "relu", "silu", "tanh"]),
    st.floats(0.25, 4),
    st.floats(0, 1),
    st.integers(0, 1000),
)


@given(structures)
@settings(max_examples=40, deadline=None)
def test_attach_and_detach_leave_the_model_as_it_was(structure: Structure) -> None:
    before, bare = {name: value.clone() for name, value in MODEL.state_dict().items()}, output(MODEL)
    adapter = attach(MODEL, structure)
    assert torch.equal(output(MODEL), bare)
    assert adapter.structure == structure
    assert sum(p.numel() for p in adapter.parameters()) == structure.params
    shake(adapter)
    adapter.detach()
    after = MODEL.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(output(MODEL), bare)


@given(structures)
@settings(max_examples=40, deadline=None)
def test_merging_keeps_the_function(structure: Structure) -> None:
    model = deepcopy(MODEL)
    adapter = attach(model, structure)
    shake(adapter)
    before = output(model)
    left = adapter.merge()
    torch.testing.assert_close(output(model), before, atol=1e-4, rtol=0)
    assert sum(p.numel() for p in adapter.parameters()) == left.params
    assert not [m for m in left.modules if m.kind == "lora"]


@pytest.mark.parametrize("gate_kind", GATES)
@given(seed=st.integers(0, 1000), spread=st.floats(0.1, 5), shrunk=st.booleans(), share=st.none() | st.floats(0.01, 1))
@settings(max_examples=20, deadline=None)
def test_the_compact_model_equals_the_discretised_supernet(
    gate_kind: str, seed: int, spread: float, shrunk: bool, share: float | None
) -> None:
    sized = {kind: Candidate(3, 2) if KINDS[kind].sized else Candidate(1) for kind in KINDS}
    supernet = Supernet(MODEL, SITES, Space(sized), SearchOptions(gate_kind))
    torch.manual_seed(seed)
    nn.init.normal_(supernet.gates.each[0].alpha, std=spread)
    shake(supernet.adapter, seed)
    if share is not None:
        supernet.set_budget(share * supernet.pressure.total)
    if shrunk:
        supernet.shrink()
    supernet.eval()
    discretised, structure = output(MODEL), supernet.structure()
    adapter = supernet.discretize()
    torch.testing.assert_close(output(MODEL), discretised, atol=1e-5, rtol=1e-5)
    assert adapter.structure == structure
    if share is not None:
        assert structure.params <= share * supernet.pressure.total
    supernet.detach()
