"""Screening: candidates are judged at zero by the gradients of some batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from slat_search.structure import (
    Candidate,
    ModuleOptions,
    SearchOptions,
    Space,
    Supernet,
    find_sites,
)
from slat_search.structure.singular import singular_basis

KINDS = {"spectral": Candidate(6), "lora": Candidate(2), "serial": Candidate(2, group=2), "norm": Candidate(1)}
Inputs = dict[str, Tensor]


def passes(supernet: Supernet, model: nn.Module, batch: Inputs, count: int = 3) -> list[Tensor]:
    """Some batches with different losses; what was recorded of each."""
    losses = []
    for number in range(count):
        weights = torch.randn(384, generator=torch.Generator().manual_seed(number))
        supernet.adapter.zero_grad()
        loss = (model(**batch).last_hidden_state @ weights).square().mean()
        loss.backward()
        supernet.record_gradients()
        losses.append(loss.detach())
    return losses


def test_an_entry_is_worth_its_mean_gradient_as_far_as_it_is_no_noise(backbone: nn.Module, batch: Inputs) -> None:
    """Against gradients of the weights themselves, projected on the directions afterwards."""
    sites = [site for site in find_sites(backbone) if site.layer == 5 and site.role in ("v", "mlp_out")]
    supernet = Supernet(backbone, sites, Space({"spectral": Candidate(6)}))
    passes(supernet, backbone, batch)
    supernet.decide(0.0, budget=10)
    structure = supernet.structure()
    supernet.detach()

    worths = []
    for site in sites:
        layer = backbone.get_submodule(site.name)
        basis = singular_basis(layer, 6)
        layer.weight.requires_grad_(True)
        collected = []
        for number in range(3):
            weights = torch.randn(384, generator=torch.Generator().manual_seed(number))
            loss = (backbone(**batch).last_hidden_state @ weights).square().mean()
            (full,) = torch.autograd.grad(loss, layer.weight)
            collected.append(2 * basis.left.T @ full @ basis.right.T)
        layer.weight.requires_grad_(False)
        entries = torch.stack(collected)
        worths.append(entries.mean(dim=0).square() / entries.square().mean(dim=0).sqrt())
    best = torch.stack(worths).flatten().topk(10).indices.tolist()
    expected = {(sites[i // 36].name, (i % 36) // 6, i % 6) for i in best}
    assert {(m.site.name, *entry) for m in structure.modules for entry in m.entries} == expected


def test_kinds_compete_by_what_a_parameter_of_theirs_is_worth(backbone: nn.Module, batch: Inputs) -> None:
    sites = find_sites(backbone)[-9:]
    supernet = Supernet(backbone, sites, Space(KINDS))
    passes(supernet, backbone, batch)
    gradients = {
        id(module): [p.grad.abs().sum() > 0 for p in module.parameters() if p.grad is not None]
        for site in supernet.adapter.site_adapters()
        for module in site.parts.values()
    }
    assert all(any(found) for found in gradients.values())
    supernet.decide(1.0, None)
    density = supernet.gates.density()
    is_open = supernet.gates.is_open()
    worth = supernet.gates.importance()
    average = float(worth.double().sum() / supernet.costs.double().sum())
    assert torch.equal(is_open, density > torch.log(torch.tensor(average)))
    assert 0 < is_open.sum() < len(is_open)
    supernet.detach()


@pytest.mark.parametrize("budget", [1, 17, 144])
def test_a_budget_is_filled_to_the_last_parameter(backbone: nn.Module, batch: Inputs, budget: int) -> None:
    sites = [site for site in find_sites(backbone) if site.layer > 3 and not site.is_norm]
    supernet = Supernet(backbone, sites, Space({"spectral": Candidate(6)}))
    passes(supernet, backbone, batch)
    supernet.decide(0.0, budget)
    assert supernet.structure().params == budget
    before = backbone(**batch).last_hidden_state
    adapter = supernet.discretize()
    assert adapter.structure.params == budget
    torch.testing.assert_close(backbone(**batch).last_hidden_state, before)  # everything still stands at zero
    supernet.detach()


def test_whatever_the_weight_the_best_atom_stays(backbone: nn.Module, batch: Inputs) -> None:
    sites = find_sites(backbone)[-4:]
    sizes = []
    for weight in (0.0, 0.1, 1.0, 10.0, 1e6):
        torch.manual_seed(0)
        supernet = Supernet(backbone, sites, Space(KINDS))
        passes(supernet, backbone, batch)
        supernet.decide(weight, None)
        sizes.append(supernet.structure().params)
        supernet.detach()
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == supernet.pressure.total
    assert sizes[-1] == 1


def test_asleep_candidates_cost_no_backward_pass_and_report_the_bare_head(backbone: nn.Module, batch: Inputs) -> None:
    bare = backbone(**batch).last_hidden_state
    supernet = Supernet(backbone, find_sites(backbone), Space(KINDS, ModuleOptions()))
    supernet.adapter.active = False
    out = backbone(**batch).last_hidden_state
    assert torch.equal(out, bare)
    assert not out.requires_grad
    assert not supernet.structure().modules
    supernet.adapter.active = True
    awake = backbone(**batch).last_hidden_state
    assert awake.requires_grad
    torch.testing.assert_close(awake, bare)
    supernet.detach()


def test_what_has_trained_is_worth_its_weights_squared_times_the_size_of_their_gradients(
    backbone: nn.Module, batch: Inputs
) -> None:
    kinds = {"spectral": Candidate(4), "lora": Candidate(2), "norm": Candidate(1)}
    supernet = Supernet(backbone, find_sites(backbone)[-9:], Space(kinds), SearchOptions("screening"))
    generator = torch.Generator().manual_seed(0)
    gradients = []
    for number in range(3):
        weights = torch.randn(384, generator=torch.Generator().manual_seed(number))
        supernet.adapter.zero_grad()
        (backbone(**batch).last_hidden_state @ weights).square().mean().backward()
        supernet.record_gradients()
        gradients.append([p.grad.clone() for _, p, _ in supernet.layout.parameters()])
    supernet.decide(0.0, None)
    with torch.no_grad():
        for _, parameter, _ in supernet.layout.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    supernet.gates.judge_trained(supernet.layout.weights())

    by_atom = torch.zeros_like(supernet.costs)
    owners = supernet.layout.atom_of_parameters()
    start = 0
    for place, (_, parameter, _) in enumerate(supernet.layout.parameters()):
        size = torch.stack([of_batch[place] for of_batch in gradients]).square().mean(dim=0).sqrt()
        worth = (parameter.detach().square() * size).reshape(-1)
        by_atom.index_add_(0, owners[start : start + len(worth)], worth)
        start += len(worth)
    torch.testing.assert_close(supernet.gates.importance(), by_atom)
    supernet.detach()


def test_nothing_recorded_is_nothing_to_judge_by(backbone: nn.Module) -> None:
    supernet = Supernet(backbone, find_sites(backbone)[-2:], Space(KINDS))
    with pytest.raises(ValueError, match="no batch was recorded"):
        supernet.decide(1.0, None)
    supernet.discretize()
    for judge in (supernet.record_gradients, supernet.decide):
        with pytest.raises(ValueError, match="the search has ended"):
            judge()
    supernet.detach()


def test_gates_of_another_kind_are_not_judged_by_recorded_gradients(backbone: nn.Module) -> None:
    supernet = Supernet(backbone, find_sites(backbone)[-2:], Space(KINDS), SearchOptions(kind="sigmoid"))
    for judge in (supernet.record_gradients, supernet.decide):
        with pytest.raises(ValueError, match="gates of class Sigmoid are not judged by recorded gradients"):
            judge()
    supernet.detach()
