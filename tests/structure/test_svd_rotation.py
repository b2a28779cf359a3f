"""LoRA in its principal directions: the same function, ranks in order of what they do, an optimizer that follows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from slat_search.structure import (
    Candidate,
    SearchOptions,
    Site,
    Space,
    Structure,
    Supernet,
    attach,
    rotate_to_svd,
)
from slat_search.structure.adapter import Adapter

Inputs = dict[str, Tensor]


@pytest.fixture
def adapter(backbone: nn.Module, sites: tuple[Site, ...]) -> Iterator[Adapter]:
    """LoRA with three ranks and a bottleneck in one module, at sites of different shape, with weights that show."""
    torch.manual_seed(0)
    both = Space({"lora": Candidate(3), "parallel": Candidate(2)}).supernet(sites[-9:])
    adapter = attach(backbone, both)
    with torch.no_grad():
        for p in adapter.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    yield adapter
    adapter.detach()


def loss(backbone: nn.Module, batch: Inputs) -> Tensor:
    return backbone(**batch).last_hidden_state.square().mean() * 100


def loras(adapter: Adapter) -> list[nn.Module]:
    return [site.parts["Projection"] for site in adapter.site_adapters()]


def test_it_computes_what_it_did(backbone: nn.Module, batch: Inputs, adapter: Adapter) -> None:
    before = backbone(**batch).last_hidden_state
    weights = [part.up.clone() for part in loras(adapter)]
    rotate_to_svd(adapter)
    torch.testing.assert_close(backbone(**batch).last_hidden_state, before, atol=1e-5, rtol=1e-5)
    for part, up in zip(loras(adapter), weights, strict=True):
        assert not torch.allclose(part.up[:, :3], up[:, :3], atol=1e-3)
        assert torch.equal(part.up[:, 3:], up[:, 3:])  # a bottleneck has a nonlinearity and no other basis


def test_the_first_ranks_are_the_best_approximation_of_all(adapter: Adapter) -> None:
    """Against the singular value decomposition of the whole matrix (Eckart and Young 1936)."""
    wholes = [part.up[:, :3] @ part.down[:3] for part in loras(adapter)]
    rotate_to_svd(adapter)
    for part, whole in zip(loras(adapter), wholes, strict=True):
        u, s, vh = torch.linalg.svd(whole, full_matrices=False)
        for kept in (1, 2, 3):
            best = u[:, :kept] * s[:kept] @ vh[:kept]
            torch.testing.assert_close(part.up[:, :kept] @ part.down[:kept], best, atol=1e-5, rtol=1e-4)
        lengths = part.down[:3] @ part.down[:3].T
        torch.testing.assert_close(lengths, torch.eye(3) / 3, atol=1e-5, rtol=0)  # as long as at initialisation


def test_first_moments_are_those_of_the_new_basis(backbone: nn.Module, batch: Inputs, adapter: Adapter) -> None:
    optimizer = torch.optim.Adam(
        adapter.parameters(), lr=0.0, betas=(0.0, 0.9)
    )  # moments: the gradient, a tenth of g^2
    loss(backbone, batch).backward()
    optimizer.step()
    rotate_to_svd(adapter, optimizer)
    optimizer.zero_grad()
    loss(backbone, batch).backward()
    for part in loras(adapter):
        for parameter in (part.up, part.down):
            state, gradient = optimizer.state[parameter], parameter.grad
            torch.testing.assert_close(state["exp_avg"], gradient, atol=1e-4 * float(gradient.abs().max()), rtol=1e-3)
            assert (state["exp_avg_sq"] >= 0).all()
        beside = optimizer.state[part.up]["exp_avg_sq"][:, 3:]
        torch.testing.assert_close(beside, 0.1 * part.up.grad[:, 3:].square(), atol=1e-9, rtol=1e-2)


def test_turning_twice_changes_no_more(adapter: Adapter) -> None:
    rotate_to_svd(adapter)
    once = [(part.up.clone(), part.down.clone()) for part in loras(adapter)]
    rotate_to_svd(adapter)
    for part, (up, down) in zip(loras(adapter), once, strict=True):
        torch.testing.assert_close(part.up[:, :3].abs(), up[:, :3].abs(), atol=1e-5, rtol=1e-4)  # but for signs
        torch.testing.assert_close(part.down[:3].abs(), down[:3].abs(), atol=1e-4, rtol=1e-3)


def test_nothing_learnt_yet_is_left_alone(backbone: nn.Module, sites: tuple[Site, ...]) -> None:
    adapter = attach(backbone, Structure.lora(sites, r=3))
    before = {name: value.clone() for name, value in adapter.state_dict().items()}
    rotate_to_svd(adapter)
    assert all(torch.equal(value, before[name]) for name, value in adapter.state_dict().items())
    adapter.detach()


def test_ranks_that_depend_on_each_other_are_left_alone(adapter: Adapter) -> None:
    first = loras(adapter)[0]
    with torch.no_grad():
        first.down[1] = first.down[0]
    before = first.up.clone()
    rotate_to_svd(adapter)
    assert torch.equal(first.up, before)
    assert all(torch.isfinite(p).all() for p in adapter.parameters())


@pytest.mark.parametrize(("near", "rotated"), [(1e-4, True), (1e-6, False)])
def test_ranks_that_nearly_depend_on_each_other(adapter: Adapter, near: float, rotated: bool) -> None:
    """Below 1e-5 of the longest direction what solves for the new rows would be rounding alone."""
    part = loras(adapter)[0]
    with torch.no_grad():
        rows = torch.linalg.qr(torch.randn(part.down.shape[1], 3)).Q.T
        part.down[:3] = rows * torch.tensor([[1.0], [1.0], [near]])
    before = part.up.clone()
    rotate_to_svd(adapter)
    assert torch.equal(part.up, before) is not rotated


def test_ranks_that_do_one_thing_count_as_one(backbone: nn.Module, batch: Inputs, sites: tuple[Site, ...]) -> None:
    """Four ranks that write in one direction: by their own saliency each is worth a part of what one could do."""
    torch.manual_seed(0)
    space = Space({"lora": Candidate(4)})
    supernet = Supernet(
        backbone, sites[-2:-1], space, SearchOptions("saliency", redundancy_discount=1.0, depth_exponent=0.0)
    )
    part = loras(supernet.adapter)[0]
    with torch.no_grad():
        part.up.copy_(0.05 * torch.randn(part.up.shape[0], 1).expand_as(part.up))
        part.down.copy_(part.down[:1] + 0.1 * part.down)
    loss(backbone, batch).backward()
    before = supernet.gates.importance().sort(descending=True).values
    rotate_to_svd(supernet.adapter)
    supernet.gates.each[0].seen = False
    loss(backbone, batch).backward()
    after = supernet.gates.importance()
    assert float(before[0]) < 0.5 * float(before.sum())
    assert float(after[0]) > 0.99 * float(after.sum())
    assert float(after[0]) == pytest.approx(float(before.sum()), rel=1e-3)
    supernet.detach()
