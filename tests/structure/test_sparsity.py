from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slat_search.structure import GATE_KINDS, TRAINED_GATES, Candidate, Site, Space, Supernet
from slat_search.structure.gates import Gates
from slat_search.structure.sparsity import (
    depth_cost,
    gate_entropy,
    kind_diversity,
    open_within,
    parameter_cost,
    shift_to_budget,
)

SPACE = Space(
    {
        "lora": Candidate(4),
        "parallel": Candidate(4, 2),
        "serial": Candidate(4, 2),
        "norm": Candidate(1),
        "bias": Candidate(1),
    }
)


def test_depth_of_binary_gates_is_the_share_of_blocks_that_backward_reaches() -> None:
    layer = torch.tensor([0, 1, 1, 2, 3])
    for opened, share in (([4], 1 / 4), ([3, 4], 2 / 4), ([1], 3 / 4), ([0], 1.0), ([], 0.0)):
        z = torch.zeros(5)
        z[opened] = 1
        assert depth_cost(z, layer, 4).item() == pytest.approx(share)


def test_depth_gradient_goes_to_the_lowest_open_atom() -> None:
    z = torch.tensor([0.1, 0.9, 0.5], requires_grad=True)
    depth_cost(z, torch.tensor([0, 1, 2]), 3).backward()
    assert z.grad is not None
    assert z.grad.tolist() == pytest.approx([1 / 3, 2 / 3, 0])


def test_entropy_and_diversity_of_known_cases() -> None:
    assert gate_entropy(torch.tensor([0.5, 0.5])).item() == pytest.approx(1)
    assert gate_entropy(torch.tensor([0.0, 1.0])).item() == pytest.approx(0, abs=1e-4)
    costs, kind = torch.tensor([2.0, 2.0, 4.0]), torch.tensor([0, 0, 1])
    assert kind_diversity(torch.ones(3), costs, kind, 2).item() == pytest.approx(1)
    assert kind_diversity(torch.tensor([1.0, 1.0, 0.0]), costs, kind, 2).item() == pytest.approx(0, abs=1e-6)
    assert kind_diversity(torch.ones(3), costs, torch.zeros(3, dtype=torch.long), 1).item() == 1
    assert parameter_cost(torch.tensor([1.0, 0.5, 0.0]), costs, 8.0).item() == pytest.approx(3 / 8)


@pytest.mark.parametrize("kind", TRAINED_GATES)
@given(alpha=st.lists(st.floats(-30, 30), min_size=2, max_size=40), share=st.floats(0.01, 0.99), tau=st.floats(0.05, 2))
@settings(max_examples=60, deadline=None)
def test_the_budget_is_held(kind: str, alpha: list[float], share: float, tau: float) -> None:
    gates = Gates(len(alpha), kind)
    with torch.no_grad():
        gates.alpha.copy_(torch.tensor(alpha))
    gates.temperature = tau
    costs = torch.arange(1.0, len(alpha) + 1)
    budget = share * float(costs.sum())
    shift_to_budget(gates, costs, budget)
    assert float((costs * gates.expected().detach()).sum()) == pytest.approx(budget, rel=2e-3)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 50)), min_size=1, max_size=30), st.integers(0, 800))
def test_what_is_kept_fits_and_nothing_else_would(atoms: list[tuple[float, int]], budget: int) -> None:
    logits, costs = (torch.tensor(column, dtype=torch.float) for column in zip(*atoms, strict=True))
    kept = open_within(logits, costs, budget)
    left = budget - float(costs[kept].sum())
    assert left >= 0
    assert all(c > left for c in costs[~kept].tolist())


@given(
    st.lists(st.tuples(st.floats(0.01, 5), st.integers(1, 50)), min_size=1, max_size=9),
    st.integers(1, 200),
)
def test_a_swap_never_makes_the_kept_worth_less(atoms: list[tuple[float, int]], budget: int) -> None:
    """Against plain greedy choice from below, against trying every set from above."""
    worth, costs = (torch.tensor(column, dtype=torch.float) for column in zip(*atoms, strict=True))
    logits = (worth / costs).log()
    kept = open_within(logits, costs, budget, worth)
    assert float(costs[kept].sum()) <= budget
    assert float(worth[kept].sum()) >= float(worth[open_within(logits, costs, budget)].sum()) - 1e-5
    sets = torch.tensor(list(itertools.product([False, True], repeat=len(atoms))))
    best = (sets * worth).sum(1)[(sets * costs).sum(1) <= budget].max()
    assert float(worth[kept].sum()) <= float(best) + 1e-5


def test_a_large_atom_takes_the_place_of_a_small_one() -> None:
    worth, costs = torch.tensor([4.0, 4.0, 4.0, 15.0]), torch.tensor([1.0, 1.0, 1.0, 4.0])
    assert open_within(worth / costs, costs, 6).tolist() == [True, True, True, False]
    kept = open_within(worth / costs, costs, 6, worth)
    assert kept[3]
    assert kept.sum() == 3


@pytest.fixture(params=GATE_KINDS)
def supernet(request: pytest.FixtureRequest, backbone: nn.Module, sites: tuple[Site, ...]) -> Iterator[Supernet]:
    torch.manual_seed(0)
    made = Supernet(backbone, sites, SPACE, gate_kind=request.param)
    with torch.no_grad():
        made.gates.alpha.normal_()
    yield made
    made.detach()


@pytest.mark.parametrize("budget", [2_000, 20_000, 150_000])
def test_the_structure_fills_the_budget_within_one_percent(
    backbone: nn.Module, batch: dict[str, Tensor], supernet: Supernet, budget: int
) -> None:
    supernet.hold(budget)
    structure = supernet.structure()
    assert 0.9 * budget < structure.params <= budget if budget < 5_000 else 0.99 * budget < structure.params <= budget
    supernet.eval()
    discretised = backbone(**batch).last_hidden_state
    assert supernet.settle().structure == structure
    torch.testing.assert_close(backbone(**batch).last_hidden_state, discretised, atol=1e-5, rtol=1e-5)


def test_a_group_closes_at_once(backbone: nn.Module, sites: tuple[Site, ...]) -> None:
    supernet = Supernet(backbone, sites, SPACE, groups=("layer", "kind"))
    gates = supernet.gates
    assert gates.group_alpha is not None
    assert len(gates.group_alpha) == 6 + 5
    with torch.no_grad():
        gates.group_alpha[2] = -5.0
        gates.group_alpha[6] = -5.0
    structure = supernet.structure()
    assert {m.site.layer for m in structure.modules} == {0, 1, 3, 4, 5}
    assert {m.kind for m in structure.modules} == {"parallel", "serial", "norm", "bias"}
    supernet.cost().backward()
    grad, atoms = gates.group_alpha.grad, gates.alpha.grad
    assert grad is not None
    assert atoms is not None
    assert grad[0].item() == pytest.approx(atoms[gates.groups[0] == 0].sum().item(), rel=1e-5)
    optimiser = torch.optim.AdamW([*supernet.adapter.parameters(), *gates.variables])
    supernet.shrink(optimiser)
    assert supernet.structure() == structure
    assert supernet.settle(optimiser).structure == structure
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert held == {id(p) for p in supernet.adapter.parameters()}
    supernet.detach()


def test_unknown_group(backbone: nn.Module, sites: tuple[Site, ...]) -> None:
    with pytest.raises(ValueError, match="unknown group 'head'; one of layer, kind, site"):
        Supernet(backbone, sites, SPACE, groups=("head",))


def test_depth_in_the_cost_of_a_supernet(supernet: Supernet) -> None:
    nn.init.constant_(supernet.gates.alpha, 40.0)
    assert supernet.cost(depth=1.0).item() == pytest.approx(1)
    with torch.no_grad():
        supernet.gates.alpha[supernet.layout.of_atom["layer"] < 3] = -40.0
    assert supernet.cost(depth=1.0).item() == pytest.approx(0.5, abs=1e-6)
    both = 0.5 * supernet.cost().item() + 0.25
    assert supernet.cost(depth=0.5).item() == pytest.approx(both, rel=1e-5)
    assert math.isclose(supernet.entropy().item(), 0, abs_tol=1e-4)
