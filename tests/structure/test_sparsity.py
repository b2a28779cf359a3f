from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slat_search.structure import (
    GATES,
    Candidate,
    SearchOptions,
    Site,
    Space,
    Supernet,
)
from slat_search.structure.gates.trained import TrainedTaskGates
from slat_search.structure.sparsity import open_within, parameter_cost, shift_to_budget
from tests.structure.test_gates import TRAINED

SPACE = Space(
    {
        "lora": Candidate(4),
        "parallel": Candidate(4, 2),
        "serial": Candidate(4, 2),
        "norm": Candidate(1),
        "bias": Candidate(1),
    }
)


def test_the_cost_of_a_known_case() -> None:
    assert parameter_cost(torch.tensor([1.0, 0.5, 0.0]), torch.tensor([2.0, 2.0, 4.0]), 8.0).item() == 3 / 8


@pytest.mark.parametrize("kind", TRAINED)
@given(alpha=st.lists(st.floats(-30, 30), min_size=2, max_size=40), share=st.floats(0.01, 0.99), tau=st.floats(0.05, 2))
@settings(max_examples=60, deadline=None)
def test_the_budget_is_held(kind: str, alpha: list[float], share: float, tau: float) -> None:
    row = TRAINED[kind](len(alpha))
    with torch.no_grad():
        row.alpha.copy_(torch.tensor(alpha))
    gates = TrainedTaskGates([row], SearchOptions())
    gates.set_temperature(tau)
    costs = torch.arange(1.0, len(alpha) + 1)
    budget = share * float(costs.sum())
    shift_to_budget(gates, costs, budget)
    assert float((costs * gates.expected().detach()).sum()) == pytest.approx(budget, rel=2e-3)


@pytest.mark.parametrize("unit", [1.0, 1 / 1024])
def test_a_kept_atom_makes_place_for_one_that_is_worth_more_in_any_unit(unit: float) -> None:
    worth, costs = unit * torch.tensor([1.0, 1.25, 0.5]), torch.tensor([2.0, 3.0, 2.0])
    chosen = open_within(worth / costs, costs, 3, worth)  # for its parameters the first is worth most, and 1 is left
    assert chosen.tolist() == [False, True, False]


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 50)), min_size=1, max_size=30), st.integers(0, 800))
def test_what_is_kept_fits_and_nothing_else_would(atoms: list[tuple[float, int]], budget: int) -> None:
    logits, costs = (torch.tensor(column, dtype=torch.float) for column in zip(*atoms, strict=True))
    chosen = open_within(logits, costs, budget)
    left = budget - float(costs[chosen].sum())
    assert left >= 0
    assert all(c > left for c in costs[~chosen].tolist())


@given(
    st.lists(st.tuples(st.floats(0.01, 5), st.integers(1, 50)), min_size=1, max_size=9),
    st.integers(1, 200),
)
def test_a_swap_never_makes_the_kept_worth_less(atoms: list[tuple[float, int]], budget: int) -> None:
    """Against plain greedy choice from below, against trying every set from above."""
    worth, costs = (torch.tensor(column, dtype=torch.float) for column in zip(*atoms, strict=True))
    logits = (worth / costs).log()
    chosen = open_within(logits, costs, budget, worth)
    assert float(costs[chosen].sum()) <= budget
    assert float(worth[chosen].sum()) >= float(worth[open_within(logits, costs, budget)].sum()) - 1e-5
    sets = torch.tensor(list(itertools.product([False, True], repeat=len(atoms))))
    best = (sets * worth).sum(1)[(sets * costs).sum(1) <= budget].max()
    assert float(worth[chosen].sum()) <= float(best) + 1e-5


def test_a_large_atom_takes_the_place_of_a_small_one() -> None:
    worth, costs = torch.tensor([4.0, 4.0, 4.0, 15.0]), torch.tensor([1.0, 1.0, 1.0, 4.0])
    assert open_within(worth / costs, costs, 6).tolist() == [True, True, True, False]
    chosen = open_within(worth / costs, costs, 6, worth)
    assert chosen[3]
    assert chosen.sum() == 3


@pytest.fixture(params=GATES)
def supernet(request: pytest.FixtureRequest, backbone: nn.Module, sites: tuple[Site, ...]) -> Iterator[Supernet]:
    torch.manual_seed(0)
    supernet = Supernet(backbone, sites, SPACE, SearchOptions(request.param))
    with torch.no_grad():
        supernet.gates.each[0].alpha.normal_()
    yield supernet
    supernet.detach()


@pytest.mark.parametrize("budget", [2_000, 20_000, 150_000])
def test_the_structure_fills_the_budget_within_one_percent(
    backbone: nn.Module, batch: dict[str, Tensor], supernet: Supernet, budget: int
) -> None:
    supernet.set_budget(budget)
    structure = supernet.structure()
    assert 0.9 * budget < structure.params <= budget if budget < 5_000 else 0.99 * budget < structure.params <= budget
    supernet.eval()
    discretised = backbone(**batch).last_hidden_state
    assert supernet.discretize().structure == structure
    torch.testing.assert_close(backbone(**batch).last_hidden_state, discretised, atol=1e-5, rtol=1e-5)
