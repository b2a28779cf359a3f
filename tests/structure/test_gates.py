from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from slat_search.structure import GATES, HardConcrete, SearchOptions, TrainedGates
from slat_search.structure.gates.trained import Sigmoid, TrainedTaskGates

TRAINED = {kind: made for kind, made in GATES.items() if issubclass(made, TrainedGates)}


@pytest.fixture(params=TRAINED)
def gates(request: pytest.FixtureRequest) -> TrainedGates:
    gates = TRAINED[request.param](2000)
    with torch.no_grad():
        gates.alpha.copy_(torch.linspace(-6, 6, 2000))
    return gates


def test_gates_lie_between_0_and_1_and_rise_with_alpha(gates: TrainedGates) -> None:
    torch.manual_seed(0)
    for z in (gates.sample(), gates.values(), gates.expected()):
        assert z.min() >= 0
        assert z.max() <= 1
        assert z[:200].mean() < 0.05
        assert z[-200:].mean() > 0.95


def test_open_means_a_value_above_one_half(gates: TrainedGates) -> None:
    assert torch.equal(gates.logits() > 0, gates.values() > 0.5)


def test_cold_gates_are_nearly_binary(gates: TrainedGates) -> None:
    gates.temperature = 0.01
    z = gates.values()
    assert ((z < 0.01) | (z > 0.99)).float().mean() > 0.95


def test_every_structure_variable_gets_a_gradient_from_cost_and_from_task(gates: TrainedGates) -> None:
    torch.manual_seed(0)
    (gates.expected().sum() + gates.sample().sum()).backward()
    assert gates.alpha.grad is not None
    assert (gates.alpha.grad > 0).all()


def test_expected_is_the_closed_form_of_what_is_sampled() -> None:
    """P(z > 0) for hard-concrete, by 20,000 draws."""
    gates = HardConcrete(5)
    with torch.no_grad():
        gates.alpha.copy_(torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0]))
    torch.manual_seed(0)
    drawn = torch.stack([gates.sample() > 0 for _ in range(20_000)]).float().mean(0)
    torch.testing.assert_close(gates.expected().detach(), drawn, atol=4 / math.sqrt(20_000), rtol=0)


@pytest.mark.parametrize("sharing", [0.0, 0.3, 1.0])
def test_over_tasks_an_atom_is_paid_once_and_each_further_use_by_its_share(sharing: float) -> None:
    """The uses of a given task are there with probability 1 or 0, whatever its row says."""
    rows = [Sigmoid(3) for _ in range(3)]
    with torch.no_grad():
        for row, alpha in zip(rows, ([9.0, 9.0, 9.0], [1.0, -1.0, 0.0], [0.5, 2.0, -3.0]), strict=True):
            row.alpha.copy_(torch.tensor(alpha))
    gates = TrainedTaskGates(rows, SearchOptions("sigmoid", sharing=sharing), torch.tensor([[1.0, 0.0, 0.7]]))
    given = torch.tensor([1.0, 0.0, 1.0])
    p, q = (row.alpha.detach() / row.temperature for row in rows[1:])
    p, q = p.sigmoid(), q.sigmoid()
    at_least_once = 1 - (1 - given) * (1 - p) * (1 - q)
    assert_close(gates.expected().detach(), (1 - sharing) * at_least_once + sharing * (given + p + q))


def test_sampled_gates_follow_the_seed() -> None:
    gates = HardConcrete(50, init=0.0)
    torch.manual_seed(3)
    first = gates.sample()
    torch.manual_seed(3)
    assert torch.equal(first, gates.sample())
