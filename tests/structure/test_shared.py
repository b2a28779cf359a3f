"""A pool that tasks share: who uses what, what it costs, and that each task computes what it would alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from slat_search.errors import SlatError
from slat_search.structure import (
    GATES,
    Candidate,
    Saliency,
    SearchOptions,
    SharedStructure,
    Space,
    Structure,
    Supernet,
    attach_alone,
    attach_shared,
    find_sites,
    unpack,
)
from slat_search.structure.gates.measured import MeasuredTaskGates
from slat_search.structure.gates.trained import TrainedTaskGates
from tests.structure.test_families import SMALL
from tests.structure.test_gates import TRAINED
from tests.structure.test_kinds import shake

TASKS = ("one", "two", "three")
SPACE = Space({"lora": Candidate(3), "parallel": Candidate(4, group=2), "norm": Candidate(1), "bias": Candidate(1)})
IDS = torch.tensor([[3, 4, 5, 6, 0], [7, 8, 9, 10, 11]])


def entries(model: nn.Module, taken: Callable[[int, int], bool]) -> Structure:
    """Of 4 x 4 cores everywhere those at some places."""
    cores = Structure.at(find_sites(model), "spectral", 4)
    kept = [(m, tuple(entry for entry in m.entries if taken(*entry))) for m in cores.modules]
    return replace(cores, modules=tuple(replace(m, size=len(some), entries=some) for m, some in kept))


def output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=(IDS > 0).long()).last_hidden_state


def supernet(model: nn.Module, kind: str = "saliency", sharing: float = 0.5) -> Supernet:
    torch.manual_seed(1)
    supernet = Supernet(model, find_sites(model), SPACE, SearchOptions(kind, sharing=sharing, worth="loss"), TASKS)
    shake(supernet.adapter)
    return supernet


def observe(supernet: Supernet, model: nn.Module) -> None:
    """A backward pass a task, with another loss each, so that their saliencies differ."""
    for number in range(len(TASKS)):
        supernet.switch(number)
        weights = torch.randn(SMALL["hidden_size"], generator=torch.Generator().manual_seed(number))
        supernet.train()
        out = model(input_ids=IDS, attention_mask=(IDS > 0).long()).last_hidden_state
        (out @ weights).square().mean().backward()
        if supernet.gates is not None and supernet.options.kind == "screening":
            supernet.record_gradients()
        supernet.zero_grad()


def searched(model: nn.Module, kind: str, sharing: float = 0.5) -> Supernet:
    """In the middle of a search: every task has closed something, and not the same."""
    made = supernet(model, kind, sharing)
    if kind == "saliency":
        observe(made, model)
        made.gates.price = math.exp(float(made.gates.density().median()))
    elif kind == "screening":
        observe(made, model)
        made.decide(1.0, None)
    else:
        for number, row in enumerate(made.gates.rows):
            with torch.no_grad():
                row.alpha.copy_(torch.randn(len(row.alpha), generator=torch.Generator().manual_seed(number)) * 2)
    made.eval()
    return made


def outputs(supernet: Supernet, model: nn.Module) -> list[Tensor]:
    collected = []
    for number in range(len(TASKS)):
        supernet.switch(number)
        collected.append(output(model))
    return collected


@pytest.mark.parametrize("kind", GATES)
def test_what_settles_computes_what_was_evaluated_and_each_task_alone_too(bare: nn.Module, kind: str) -> None:
    supernet = searched(bare, kind)
    structure, before = supernet.structure(), outputs(supernet, bare)
    assert len({structure.of(task) for task in TASKS}) == 3
    assert 0 < structure.params < supernet.params
    supernet.shrink()
    for one, two in zip(outputs(supernet, bare), before, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    shared = supernet.discretize()
    assert shared.structure == structure == supernet.structure()
    assert sum(p.numel() for p in shared.parameters()) == structure.params
    for one, two in zip(outputs(supernet, bare), before, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    supernet.detach()
    alone = {task: shared.alone(task) for task in TASKS}
    for task, expected in zip(TASKS, before, strict=True):
        own, weights = alone[task]
        assert own == structure.of(task)
        adapter = attach_alone(bare, own, weights)
        torch.testing.assert_close(output(bare), expected, atol=1e-5, rtol=0)
        adapter.detach()


def test_switched_from_task_to_task_without_the_supernet(bare: nn.Module) -> None:
    supernet = searched(bare, "hard_concrete")
    structure = supernet.structure()
    before = outputs(supernet, bare)
    shared = supernet.discretize()
    supernet.detach()
    again = attach_shared(bare, structure)
    again.load_state_dict(shared.state_dict())
    for task, expected in [*zip(TASKS, before, strict=True), (TASKS[0], before[0])]:
        again.switch(task)
        torch.testing.assert_close(output(bare), expected, atol=1e-5, rtol=0)
    with pytest.raises(SlatError, match="no task 'four'"):
        again.switch("four")
    again.detach()


def test_a_task_that_uses_nothing_sees_the_untouched_model_bit_for_bit(bare: nn.Module) -> None:
    untouched = output(bare)
    structure = SharedStructure(("one", "two"), Structure.lora(find_sites(bare), r=2), ((0,),) * 8)
    shared = attach_shared(bare, structure)
    shake(shared.adapter)
    shared.switch("two")
    assert torch.equal(output(bare), untouched)
    shared.switch("one")
    assert not torch.equal(output(bare), untouched)
    own, weights = shared.alone("two")
    assert (own.modules, weights) == ((), {})
    shared.detach()


@pytest.mark.parametrize("kind", TRAINED)
@pytest.mark.parametrize("sharing", [0.0, 0.4, 1.0, 1.7])
def test_the_expected_cost_is_that_of_every_outcome(kind: str, sharing: float) -> None:
    """Against the sum over all sets of users: c (1 + sharing (n - 1)) for n of them, nothing for none."""
    rows = [TRAINED[kind](5) for _ in TASKS]
    for seed, row in enumerate(rows):
        torch.nn.init.normal_(row.alpha, generator=torch.Generator().manual_seed(seed))
    gates = TrainedTaskGates(rows, SearchOptions(sharing=sharing))
    p = torch.stack([row.expected() for row in rows])
    expected = torch.zeros(5)
    for outcome in itertools.product((0, 1), repeat=3):
        flags = torch.tensor(outcome)[:, None]
        chance = torch.where(flags == 1, p, 1 - p).prod(dim=0)
        users = sum(outcome)
        expected += chance * ((1 + sharing * (users - 1)) if users else 0.0)
    torch.testing.assert_close(gates.expected(), expected)


@pytest.mark.parametrize("sharing", [0.0, 0.3, 1.0, 2.0])
def test_users_are_the_set_that_gains_most(sharing: float) -> None:
    """Against all sets of users of each atom, at a price in the middle; and what stands gains something."""
    torch.manual_seed(3)
    costs = torch.tensor([2.0, 1.0, 4.0, 3.0, 1.0, 2.0])
    crowd, blocks = torch.arange(6), torch.ones(6, dtype=torch.long)
    options = SearchOptions(redundancy_discount=1.0, depth_exponent=0.0, sharing=sharing, worth="loss")
    rows = [Saliency(costs, crowd, blocks, options) for _ in TASKS]
    worth = torch.rand(3, 6).exp()
    for row, values in zip(rows, worth, strict=True):
        row.alpha.copy_((values / costs).log())
        row.seen = True
    gates = MeasuredTaskGates(rows, options)
    gates.price = 0.9
    open_atoms = gates.is_open()
    users = gates.users(open_atoms)
    assert 0 < int(open_atoms.sum()) <= 6
    for atom in range(6):

        def gain(chosen: tuple[int, ...], atom: int = atom) -> float:
            paid = gates.price * float(costs[atom]) * (1 + sharing * (len(chosen) - 1))
            return sum(float(worth[t, atom]) for t in chosen) - paid

        subsets = [s for n in (1, 2, 3) for s in itertools.combinations(range(3), n)]
        best = max(subsets, key=gain)
        assert bool(open_atoms[atom]) == (gain(best) > 0)
        if open_atoms[atom]:
            assert tuple(users[:, atom].nonzero().squeeze(1).tolist()) == best


def test_a_task_whose_saliency_is_small_counts_as_much_with_equal_worth() -> None:
    torch.manual_seed(4)
    costs = torch.ones(8)
    worth = torch.rand(2, 8).exp()

    def used(equal: bool, size: float) -> torch.Tensor:
        options = SearchOptions(
            redundancy_discount=1.0, depth_exponent=0.0, sharing=1.0, worth="equal" if equal else "loss"
        )
        rows = [Saliency(costs, torch.arange(8), torch.ones(8, dtype=torch.long), options) for _ in range(2)]
        for row, values in zip(rows, (worth[0], size * worth[1]), strict=True):
            row.alpha.copy_(values.log())
            row.seen = True
        gates = MeasuredTaskGates(rows, options)
        kept = torch.zeros(8, dtype=torch.bool)
        kept[gates.logits().topk(4).indices] = True
        result = gates.users(kept, in_budget=True)
        gates.close(result)
        again = gates.users(gates.active.any(dim=0), in_budget=True)  # a task that uses nothing any more is left out
        assert bool(again.any())
        assert not bool((again & ~result).any())
        return result

    for equal in (True, False):
        alike = torch.equal(used(equal, 1.0), used(equal, 1e-6))
        assert alike == equal
    assert used(equal=False, size=1e-6)[1].sum() == 0
    assert used(equal=True, size=1e-6)[1].sum() > 0


def test_sharing_decides_how_much_is_shared(bare: nn.Module) -> None:
    shares = []
    for sharing in (0.0, 0.5, 1.0, 3.0):
        supernet = searched(bare, "saliency", sharing)
        supernet.set_budget(600)
        result = supernet.structure()
        assert result.params <= 600
        shares.append(result.shared_by()[3] / result.params)
        supernet.detach()
    assert shares[0] == 1.0  # free, so all use all
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.5


@pytest.mark.parametrize("kind", GATES)
def test_a_budget_counts_the_union(bare: nn.Module, kind: str) -> None:
    supernet = searched(bare, kind)
    supernet.set_budget(500)
    structure = supernet.structure()
    largest = max(structure.of(task).params for task in TASKS)
    assert largest <= structure.params <= 500
    assert structure.params > 450
    supernet.shrink()
    assert supernet.structure().params <= 500
    assert supernet.discretize().structure.params <= 500
    supernet.detach()


def test_a_step_of_one_task_moves_nothing_that_it_does_not_use(bare: nn.Module) -> None:
    structure = SharedStructure(("one", "two"), Structure.lora(find_sites(bare), r=2), ((0,), (1,)) * 4)
    shared = attach_shared(bare, structure)
    shake(shared.adapter)
    shared.switch("two")
    bare(input_ids=IDS, attention_mask=(IDS > 0).long()).last_hidden_state.square().sum().backward()
    for site in shared.adapter.site_adapters():
        part = site.parts["Projection"]
        assert not part.down.grad[0].any()
        assert part.down.grad[1].any()
        assert not part.up.grad[:, 0].any()
    shared.detach()


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("kind", ["saliency", "sigmoid"])
def test_saved_in_the_middle_and_loaded(bare: nn.Module, kind: str, settled: bool) -> None:
    supernet = searched(bare, kind)
    supernet.shrink()
    if settled:
        supernet.discretize()
    state = {
        name: value.clone() if isinstance(value, Tensor) else value for name, value in supernet.state_dict().items()
    }
    structure, before = supernet.structure(), outputs(supernet, bare)
    supernet.detach()
    again = Supernet(bare, find_sites(bare), SPACE, SearchOptions(kind, sharing=0.5, worth="loss"), TASKS)
    again.load_state_dict(state)
    again.eval()
    assert again.structure() == structure
    assert all(torch.equal(one, two) for one, two in zip(outputs(again, bare), before, strict=True))
    again.detach()


def test_ranks_with_different_users_are_not_turned(bare: nn.Module) -> None:
    supernet = searched(bare, "saliency")
    supernet.shrink()
    before = outputs(supernet, bare)
    supernet.rotate_to_svd()
    for one, two in zip(outputs(supernet, bare), before, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
    supernet.detach()


def test_a_shared_structure_as_a_value(bare: nn.Module) -> None:
    supernet = searched(bare, "saliency")
    structure = supernet.structure()
    supernet.detach()
    assert SharedStructure.from_dict(structure.to_dict()) == structure == unpack(structure.packed())
    assert hash(structure) == hash(unpack(structure.packed()))
    assert sum(structure.shared_by().values()) == structure.params
    own = {task: structure.of(task) for task in TASKS}
    union = own["one"] | own["two"] | own["three"]
    assert {(m.site, m.kind) for m in union.modules} == {(m.site, m.kind) for m in structure.modules}
    assert structure.overlap("one", "one") == 1
    assert structure.overlap("one", "two") == structure.overlap("two", "one") <= 1
    everything = SharedStructure.everything(TASKS, structure.pool)
    assert all(everything.of(task) == structure.pool for task in TASKS)
    assert everything.overlap("one", "two") == 1
    ranks = dict(zip(TASKS, (1, 2, 3), strict=True))
    loras = {task: Structure.lora(find_sites(bare), r=rank, alpha=2 * rank) for task, rank in ranks.items()}
    apart = SharedStructure.apart(loras)
    assert {task: apart.of(task) for task in TASKS} == loras
    assert apart.params == sum(lora.params for lora in loras.values())
    assert apart.overlap("one", "two") == 0
    by_place = {
        "one": entries(bare, lambda i, j: (i + j) % 2 == 1),
        "two": entries(bare, lambda i, j: (i + j) % 2 == 0),
    }
    side_by_side = SharedStructure.apart(by_place)
    assert {task: side_by_side.of(task) for task in by_place} == by_place
    with pytest.raises(SlatError, match="different options"):
        SharedStructure.apart({"one": loras["one"], "two": Structure.lora(find_sites(bare), r=1, alpha=9)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "slat-shared/9"}, "is not 'slat-shared/1'"),
        ({"tasks": ["one", "one"]}, "different names"),
        ({"tasks": ["one"]}, "are no users among 1 tasks"),
        ({"tasks": "ab"}, "tasks: not a list"),
        ({"modules": [{}]}, "not a structure"),
    ],
)
def test_what_is_no_shared_structure_is_one_sentence(bare: nn.Module, change: dict, message: str) -> None:
    raw = SharedStructure.everything(("one", "two"), Structure.lora(find_sites(bare), r=1)).to_dict()
    with pytest.raises(SlatError, match=message):
        SharedStructure.from_dict({**raw, **change})


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("kind", TRAINED)
def test_shrinking_under_a_budget_removes_no_use_that_the_structure_has(
    kind: str, share: float, bare: nn.Module
) -> None:
    supernet = searched(bare, kind, sharing=0.0)
    supernet.set_budget(share * supernet.pressure.total)
    before = supernet.structure()
    supernet.shrink(below=1.0)
    assert supernet.structure() == before
    supernet.detach()
