"""Saliency: what is measured, how it is smoothed, what it closes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from slat_search.structure import (
    Candidate,
    Saliency,
    SearchOptions,
    Site,
    Space,
    Supernet,
)
from slat_search.structure.gates.measured import MeasuredTaskGates

SPACE = Space({"lora": Candidate(2), "norm": Candidate(1), "bias": Candidate(1)})
Inputs = dict[str, Tensor]


def over(row: Saliency) -> MeasuredTaskGates:
    """The gates of one task."""
    return MeasuredTaskGates([row], SearchOptions())


def plain(costs: list[float], smoothing: float = 0.95) -> Saliency:
    """Saliency without discount, of atoms that have nothing to do with each other."""
    options = SearchOptions(redundancy_discount=1.0, depth_exponent=0.0, smoothing=smoothing)
    return Saliency(torch.tensor(costs), torch.arange(len(costs)), torch.ones(len(costs)), options)


@pytest.fixture
def supernet(backbone: nn.Module, sites: tuple[Site, ...]) -> Iterator[Supernet]:
    torch.manual_seed(0)
    supernet = Supernet(
        backbone, sites[-8:], SPACE, SearchOptions("saliency", redundancy_discount=1.0, depth_exponent=0.0)
    )
    with torch.no_grad():
        for p in supernet.adapter.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    yield supernet
    supernet.detach()


def loss(backbone: nn.Module, batch: Inputs) -> Tensor:
    return backbone(**batch).last_hidden_state.square().mean() * 100


def test_saliency_is_the_change_of_the_loss_for_each_parameter(
    backbone: nn.Module, batch: Inputs, supernet: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measured derivative at z = 1 against finite differences, in double precision."""
    backbone.double()
    supernet.double()
    try:
        loss(backbone, batch).backward()
        measured = supernet.gates.each[0].alpha.exp() * supernet.costs
        for atom in range(0, len(measured), 4):
            collected = []
            for step in (1e-4, -1e-4):
                z = torch.ones_like(measured)
                z[atom] += step
                monkeypatch.setattr(supernet.gates.each[0], "sample", lambda z=z: z)
                collected.append(loss(backbone, batch).item())
            by_hand = abs(collected[0] - collected[1]) / 2e-4
            assert float(measured[atom]) == pytest.approx(by_hand, rel=1e-4, abs=1e-8)
    finally:
        supernet.detach()
        backbone.float()


def test_smoothing_is_an_exponential_mean_that_begins_with_the_first_value() -> None:
    gates = plain([1.0, 4.0], smoothing=0.75)
    expected = None
    for gradient in ([2.0, -8.0], [-1.0, 0.0], [0.5, 1.0]):
        z = gates.sample()
        assert torch.equal(z.detach(), torch.ones(2))
        (z * torch.tensor(gradient)).sum().backward()
        now = torch.tensor(gradient).abs() / torch.tensor([1.0, 4.0])
        expected = now if expected is None else 0.75 * expected + 0.25 * now
        torch.testing.assert_close(gates.alpha.exp(), expected, rtol=1e-5, atol=1e-7)


def test_nothing_is_measured_without_gradients(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    before = supernet.gates.each[0].alpha.clone()
    with torch.no_grad():
        loss(backbone, batch)
    supernet.eval()
    loss(backbone, batch).backward()
    assert torch.equal(supernet.gates.each[0].alpha, before)


def test_an_atom_is_open_while_it_is_worth_its_price() -> None:
    gates = over(plain([10.0, 10.0, 100.0]))
    assert gates.is_open().all()  # nothing was measured yet
    (gates.sample() * torch.tensor([0.3, 0.1, 1.5])).sum().backward()
    assert gates.is_open().all()  # no price
    gates.price = 0.02
    assert gates.is_open().tolist() == [True, False, False]
    assert gates.expected().tolist() == [1, 0, 0]
    assert gates.values().tolist() == [[1, 1, 1]]  # what stands, stands whole until it is removed
    gates.price = 0.012
    assert gates.is_open().tolist() == [True, False, True]


def test_a_module_that_does_nothing_goes_first(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    """LoRA whose up-projection is zero adds nothing, and so do the zeroed shifts of the last norm."""
    last = supernet.adapter.site_adapters()[-1]
    with torch.no_grad():
        for site in supernet.adapter.site_adapters():
            if "Projection" in site.parts:
                site.parts["Projection"].up.zero_()
        last.parts["Bias"].shift.zero_()
    loss(backbone, batch).backward()
    supernet.gates.price = 1e-12
    supernet.shrink()
    left = supernet.structure()
    assert "lora" not in left.params_by("kind")
    assert (last.site, "bias") not in {(m.site, m.kind) for m in left.modules}
    assert sum(m.kind == "bias" for m in left.modules) == 7


def test_under_a_budget_the_most_worth_stays(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    loss(backbone, batch).backward()
    worth = supernet.gates.each[0].alpha.clone()
    budget = 3 * 384
    supernet.set_budget(budget)
    best = worth.argsort(descending=True)
    structure = supernet.structure()
    assert 0 < structure.params <= budget
    supernet.shrink()
    assert structure.params == supernet.params
    assert supernet.structure() == structure
    assert float(supernet.gates.each[0].alpha.max()) == float(worth[best[0]])
    assert supernet.discretize().structure == structure


def test_each_further_atom_of_a_crowd_counts_less() -> None:
    gates = over(
        Saliency(
            torch.ones(5),
            torch.tensor([0, 0, 1, 0, 1]),
            torch.ones(5),
            SearchOptions(redundancy_discount=0.5, depth_exponent=0.0),
        )
    )
    (gates.sample() * torch.tensor([1.0, 4.0, 3.0, 2.0, 3.0])).sum().backward()
    torch.testing.assert_close(gates.importance(), torch.tensor([0.25, 4.0, 3.0, 1.0, 1.5]))
    gates.keep(torch.tensor([0, 2, 3]))
    torch.testing.assert_close(gates.importance(), torch.tensor([0.5, 3.0, 2.0]))


def test_an_atom_counts_for_the_blocks_it_reaches(backbone: nn.Module, sites: tuple[Site, ...]) -> None:
    gates = over(
        Saliency(
            torch.ones(3),
            torch.arange(3),
            torch.tensor([6, 3, 1]),
            SearchOptions(redundancy_discount=1.0, depth_exponent=2.0),
        )
    )
    (gates.sample() * torch.tensor([1.0, 1.0, 1.0])).sum().backward()
    torch.testing.assert_close(gates.importance(), torch.tensor([36.0, 9.0, 1.0]))
    supernet = Supernet(backbone, sites, SPACE, SearchOptions("saliency", depth_exponent=1.0))
    assert sorted({round(float(x)) for x in supernet.gates.each[0].log_depth.exp()}) == [1, 2, 3, 4, 5, 6]
    assert int(supernet.gates.each[0].crowd.max()) + 1 == 6 * 3  # blocks x kinds
    supernet.detach()


def test_it_is_not_trained(supernet: Supernet) -> None:
    assert supernet.gates.variables == []
    assert not supernet.cost().requires_grad
    assert math.isclose(float(supernet.cost()), 1)
