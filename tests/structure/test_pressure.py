"""One call that presses on the parameters that stand, whatever the kind of gates."""

from __future__ import annotations

import io
from copy import deepcopy

import pytest
import torch
from torch import nn

from slat_search import SlatError
from slat_search.structure import GATES, Candidate, SearchOptions, Space, Supernet, find_sites
from slat_search.structure.gates import TrainedGates

SPACE = Space({"lora": Candidate(2), "bias": Candidate(1), "norm": Candidate(1)})


def left(bare: nn.Module, kind: str, weight: float) -> int:
    """Parameters that stand after some steps under a weight."""
    torch.manual_seed(0)
    supernet = Supernet(bare, find_sites(bare), SPACE, SearchOptions(kind))
    variables = supernet.gates.variables
    optimizer = torch.optim.Adam(
        [{"params": supernet.adapter.parameters(), "lr": 1e-3}, {"params": variables, "lr": 0.5}]
    )
    for step in range(8):
        ids = torch.randint(3, 50, (4, 6), generator=torch.Generator().manual_seed(step))
        extra = supernet.sparsity_loss(weight)
        loss = (bare(input_ids=ids).last_hidden_state - 1).square().mean()
        (loss + extra).backward()
        if kind == "screening":
            supernet.record_gradients()
        else:
            optimizer.step()
        optimizer.zero_grad()
        supernet.zero_grad()
    if kind == "screening":
        supernet.decide()
    supernet.discretize()
    supernet.detach()
    return supernet.params


@pytest.mark.parametrize("kind", GATES)
def test_more_weight_fewer_parameters(bare: nn.Module, kind: str) -> None:
    sizes = [left(bare, kind, weight) for weight in (0.0, 3.0, 100.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[-1]


@pytest.mark.parametrize("kind", GATES)
def test_gates_go_backward_block_by_block(bare: nn.Module, kind: str) -> None:
    """Parts of the graph that are gone through one after another give the gradient of the whole."""
    supernet = Supernet(bare, find_sites(bare), SPACE, SearchOptions(kind))
    z = []
    for reentrant in (False, True):
        torch.manual_seed(0)
        supernet.reentrant = reentrant
        supernet.zero_grad()
        supernet.sample_gates()
        gates = [part.site.gates[part.name] for part in supernet.layout.parts]
        if not issubclass(GATES[kind], TrainedGates):
            assert all(not gate.requires_grad for gate in gates) or kind == "saliency"
            break
        products = [gate.square().sum() for gate in gates]
        if reentrant:
            for product in products:
                product.backward()
        else:
            torch.stack(products).sum().backward()
        z.append(supernet.gates.variables[0].grad.clone())
    if z:
        torch.testing.assert_close(z[0], z[1])
    supernet.detach()


def test_a_state_loads_into_what_has_still_what_it_holds(bare: nn.Module) -> None:
    supernet = Supernet(bare, find_sites(bare), SPACE, SearchOptions("sigmoid"))
    whole = deepcopy(supernet.state_dict())
    file = io.BytesIO()
    torch.save(whole, file)
    assert all(isinstance(value, torch.Tensor) for value in whole.values())
    supernet.drop_oversized(20)
    with pytest.raises(SlatError, match="candidates that have left this one"):
        supernet.load_state_dict(whole)
    supernet.detach()
    other = Supernet(bare, find_sites(bare), SPACE, SearchOptions("saliency"))
    with pytest.raises(SlatError, match="gates of kind 'sigmoid', not 'saliency'"):
        other.load_state_dict(whole, strict=False)
    other.detach()
