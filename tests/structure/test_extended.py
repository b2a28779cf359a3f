"""A task more for a trained pool: the others' adapters stay bit for bit, and the new one may use what is there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from slat_search.errors import SlatError
from slat_search.structure import (
    GATES,
    Candidate,
    SearchOptions,
    SharedAdapter,
    SharedStructure,
    Space,
    Supernet,
    attach_alone,
    attach_shared,
    find_sites,
)
from slat_search.training.gate_schedule import ScreeningSearch, SearchPlan, controller_for
from tests.structure.test_kinds import shake
from tests.structure.test_shared import IDS, TASKS, output, outputs, searched

NEW = Space({"lora": Candidate(2), "norm": Candidate(1), "serial": Candidate(2)})


@pytest.fixture
def pool(bare: nn.Module) -> SharedAdapter:
    """A pool of three tasks that was trained, off the model again."""
    supernet = searched(bare, "saliency")
    shared = supernet.discretize()
    assert isinstance(shared, SharedAdapter)
    supernet.detach()
    return shared


def beside(model: nn.Module, pool: SharedAdapter, kind: str, sharing: float = 0.0) -> Supernet:
    """A search for a fourth task beside the pool."""
    return Supernet(model, find_sites(model), NEW, SearchOptions(kind, sharing=sharing), ("four",), pool)


def target(model: nn.Module) -> Tensor:
    out = model(input_ids=IDS, attention_mask=(IDS > 0).long()).last_hidden_state
    return (out - 1).square().mean()


def train(supernet: Supernet, model: nn.Module, steps: int, weight: float = 0.0, price: float = 0.0) -> list[float]:
    """Steps with momentum and weight decay, which move weights that have no gradient too."""
    groups = [{"params": supernet.adapter.parameters(), "lr": 0.02}]
    if supernet.gates is not None and supernet.gates.variables:
        groups.append({"params": supernet.gates.variables, "lr": 0.1})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    losses = []
    for step in range(steps):
        supernet.train()
        loss = target(model)
        (loss + weight * supernet.cost()).backward()
        if supernet.gates is not None and supernet.options.kind == "screening":
            supernet.record_gradients()  # candidates stay at zero until they are judged
        else:
            optimizer.step()
        optimizer.zero_grad()
        supernet.after_update()
        losses.append(float(loss.detach()))
        if supernet.gates is not None:
            supernet.gates.price = price
        if step == steps // 2:
            if supernet.gates is not None and supernet.options.kind == "screening":
                supernet.decide(0.2, None)
                supernet.discretize(optimizer)
            supernet.rotate_to_svd(optimizer)
            supernet.shrink(optimizer)
        if step == steps - 3:
            supernet.discretize(optimizer)
    return losses


@pytest.mark.parametrize("kind", GATES)
def test_the_others_stay_bit_for_bit(bare: nn.Module, pool: SharedAdapter, kind: str) -> None:
    before = {task: pool.alone(task) for task in TASKS}
    supernet = beside(bare, pool, kind, 0.3)
    losses = train(supernet, bare, 24, weight=0.05, price=1e-5)
    assert losses[-1] < losses[0]
    shared = supernet.discretize()
    supernet.detach()
    assert shared.structure.tasks == (*TASKS, "four")
    new = shared.structure.of("four")
    assert new.params > 0
    for task, (structure, weights) in before.items():
        own, now = shared.alone(task)
        assert own == structure
        assert now.keys() == weights.keys()
        assert all(torch.equal(now[name], weights[name]) for name in weights), task
        adapter = attach_alone(bare, own, now)
        then = output(bare)
        adapter.detach()
        adapter = attach_alone(bare, structure, weights)
        assert torch.equal(output(bare), then)
        adapter.detach()


def test_the_new_task_starts_from_all_that_the_pool_has_and_switching_back_gives_the_others(
    bare: nn.Module,
    pool: SharedAdapter,
) -> None:
    supernet = beside(bare, pool, "saliency")
    supernet.eval()
    with_all = output(bare)
    theirs = outputs(supernet, bare)
    supernet.detach()
    everything = attach_shared(bare, SharedStructure.everything(("all",), pool.structure.pool))
    everything.adapter.load_state_dict(pool.adapter.state_dict())
    torch.testing.assert_close(output(bare), with_all, atol=1e-5, rtol=0)
    everything.detach()
    for task, expected in zip(TASKS, theirs, strict=True):
        adapter = attach_alone(bare, *pool.alone(task))
        torch.testing.assert_close(output(bare), expected, atol=1e-5, rtol=0)
        adapter.detach()


def test_what_the_pool_has_costs_its_share_and_what_is_new_all(bare: nn.Module, pool: SharedAdapter) -> None:
    """At sharing 0 uses of the pool are free, so all stay; the price decides on new modules alone."""
    sizes = {}
    for sharing in (0.0, 5.0):
        torch.manual_seed(0)
        supernet = beside(bare, pool, "saliency", sharing)
        shake(supernet.adapter, seed=3)
        supernet.after_update()
        supernet.train()
        target(bare).backward()
        supernet.gates.price = 3e-6
        structure = supernet.structure()
        supernet.detach()
        assert {task: structure.of(task) for task in TASKS} == {task: pool.structure.of(task) for task in TASKS}
        sizes[sharing] = structure.of("four").params, structure.params - pool.structure.params
    assert sizes[0.0][0] == pool.structure.params + sizes[0.0][1]
    assert sizes[5.0][0] < sizes[0.0][0]
    assert sizes[5.0][1] == sizes[0.0][1] > 0


@pytest.mark.parametrize("kind", ["saliency", "sigmoid"])
def test_a_budget_counts_what_is_new(bare: nn.Module, pool: SharedAdapter, kind: str) -> None:
    supernet = beside(bare, pool, kind)
    supernet.drop_oversized(200)
    supernet.train()
    target(bare).backward()
    supernet.set_budget(200)
    structure = supernet.structure()
    supernet.detach()
    assert 100 < structure.params - pool.structure.params <= 200


def test_what_does_not_fit_the_pool_is_one_sentence(bare: nn.Module, pool: SharedAdapter) -> None:
    sites = find_sites(bare)
    with pytest.raises(SlatError, match="no whole groups"):
        Supernet(bare, sites, Space({"parallel": Candidate(6, group=3)}), tasks=("four",), pool=pool)
    with pytest.raises(SlatError, match="has a task 'two' already"):
        Supernet(bare, sites, NEW, tasks=("two",), pool=pool)


@pytest.mark.parametrize("weight", [1e9, 1.0])
def test_a_task_beside_a_pool_may_need_nothing_new(bare: nn.Module, pool: SharedAdapter, weight: float) -> None:
    space, options = Space({"lora": Candidate(2), "norm": Candidate(1)}), SearchOptions("screening", pruned=0.8)
    supernet = Supernet(bare, find_sites(bare), space, options, ("four",), pool)
    search = controller_for(supernet, SearchPlan(sparsity=weight), 20)
    assert isinstance(search, ScreeningSearch)
    optimizer = torch.optim.AdamW(supernet.adapter.parameters(), lr=0.01)
    for step in range(1, 20 + 1):
        supernet.train()
        loss = target(bare)
        if loss.requires_grad:
            loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * search.lr_factor
        optimizer.step()
        search.after_step(step, optimizer)
        optimizer.zero_grad()
        if supernet.gates is not None and search.judged:
            new = supernet.params - supernet.inherited
            assert new <= max(search.size, search.surplus * search.size)
    assert supernet.gates is None
    assert supernet.params - supernet.inherited == search.size
    assert (search.size == 0) == (weight == 1e9)
    supernet.detach()
