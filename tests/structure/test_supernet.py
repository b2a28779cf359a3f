from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from slat_search import SlatError
from slat_search.structure import (
    GATES,
    KINDS,
    Candidate,
    SearchOptions,
    Site,
    Space,
    Structure,
    Supernet,
    attach,
)

SPACE = Space({kind: Candidate(4, 2) if KINDS[kind].sized else Candidate(1) for kind in KINDS})
Inputs = dict[str, Tensor]


def run(backbone: nn.Module, batch: Inputs) -> Tensor:
    return backbone(**batch).last_hidden_state


def alpha(supernet: Supernet) -> Tensor:
    """The structure variables of the only task."""
    return supernet.gates.each[0].alpha


def shake(supernet: Supernet, spread: float = 3.0) -> None:
    """Weights that show, and structure variables on both sides of zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in supernet.adapter.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
        alpha(supernet).copy_(spread * torch.randn(alpha(supernet).shape, generator=generator))


@pytest.fixture(params=GATES)
def supernet(request: pytest.FixtureRequest, backbone: nn.Module, sites: tuple[Site, ...]) -> Iterator[Supernet]:
    torch.manual_seed(0)
    supernet = Supernet(backbone, sites, SPACE, SearchOptions(request.param))
    yield supernet
    supernet.detach()


def test_gates_at_zero_equal_the_backbone_bit_for_bit(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    shake(supernet)
    nn.init.constant_(alpha(supernet), -1.0)
    supernet.eval()
    closed = run(backbone, batch)
    supernet.detach()
    assert torch.equal(closed, run(backbone, batch))


def test_evaluation_sees_the_discretised_structure(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    shake(supernet)
    supernet.eval()
    discretised = run(backbone, batch)
    structure = supernet.structure()
    adapter = supernet.discretize()
    compact = run(backbone, batch)
    torch.testing.assert_close(discretised, compact, atol=2e-4, rtol=1e-3)
    assert adapter.structure == structure
    assert sum(p.numel() for p in adapter.parameters()) == structure.params
    assert supernet.cost() == 0


def test_shrinking_leaves_evaluation_as_it_was(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    shake(supernet)
    supernet.eval()
    before, structure, atoms = run(backbone, batch), supernet.structure(), len(supernet.costs)
    removed = supernet.shrink()
    assert 0 < removed == atoms - len(supernet.costs)
    torch.testing.assert_close(before, run(backbone, batch), atol=2e-4, rtol=1e-3)
    assert supernet.structure() == structure


def test_optimiser_state_follows(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    """The moments that are left are those of the units that are left, so training goes on as if never cut."""
    optimizer = torch.optim.AdamW([*supernet.adapter.parameters(), *supernet.gates.variables], lr=1e-3)
    shake(supernet)
    run(backbone, batch).square().mean().backward()
    if not supernet.gates.soft:
        supernet.gates.price = float(supernet.gates.density().median().exp())  # half of the atoms are worth it
    optimizer.step()
    moments = {
        (part.site.site.name, part.name, name): (p, optimizer.state[p]["exp_avg"].clone())
        for part in supernet.layout.parts
        for name, p in part.site.parts[part.name].named_parameters()
    }
    # gates that are measured are 1 or nothing: what is not open leaves
    closed = supernet.gates.values()[0] < 0.05 if supernet.gates.soft else ~supernet.gates.is_open()
    kept = {
        (part.site.site.name, part.name): ~flag
        for part, flag in zip(
            supernet.layout.parts,
            supernet.layout.by_part(closed),
            strict=True,
        )
    }
    supernet.shrink(optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in (*supernet.adapter.parameters(), *supernet.gates.variables)}
    compared = 0
    for part in supernet.layout.parts:
        module = part.site.parts[part.name]
        for name, p in module.named_parameters():
            _, old = moments[part.site.site.name, part.name, name]
            dim = module.unit_dims[name]
            units = kept[part.site.site.name, part.name][-old.shape[dim] :]
            expected = old.index_select(dim, units.nonzero().squeeze(1))
            assert torch.equal(optimizer.state[p]["exp_avg"], expected)
            compared += 1
    assert compared > 50
    assert closed.any()


def test_cost_is_the_closed_form(supernet: Supernet) -> None:
    shake(supernet)
    expected = supernet.gates.expected().tolist()
    atoms = [units * KINDS[kind].unit_cost(site) for site, kind, units in supernet.layout.atoms()]
    by_hand = sum(c * z for c, z in zip(atoms, expected, strict=True)) / sum(atoms)
    assert supernet.cost().item() == pytest.approx(by_hand, rel=1e-5)
    assert sum(atoms) == SPACE.supernet([s.site for s in supernet.adapter.site_adapters()]).params


def test_gate_gradients_against_finite_differences(backbone: nn.Module, batch: Inputs, sites: tuple[Site, ...]) -> None:
    supernet = Supernet(backbone, sites[-8:], SPACE, SearchOptions("sigmoid"))
    shake(supernet, spread=1.0)
    backbone.double()
    supernet.double()
    supernet.train()

    def loss() -> Tensor:
        return run(backbone, batch).square().mean() * 100 + supernet.cost()

    try:
        (gradient,) = torch.autograd.grad(loss(), alpha(supernet))
        for atom in range(0, len(gradient), 5):
            with torch.no_grad():
                alpha(supernet)[atom] += 1e-4
                above = loss()
                alpha(supernet)[atom] -= 2e-4
                below = loss()
                alpha(supernet)[atom] += 1e-4
            assert float(gradient[atom]) == pytest.approx(float(above - below) / 2e-4, rel=1e-4, abs=1e-8)
    finally:
        supernet.detach()
        backbone.float()


def test_all_gates_closed_is_the_bare_backbone(backbone: nn.Module, batch: Inputs, supernet: Supernet) -> None:
    nn.init.constant_(alpha(supernet), -9.0)
    assert supernet.structure() == Structure()
    adapter = supernet.discretize()
    assert adapter.structure == Structure()
    output = run(backbone, batch)
    supernet.detach()
    assert torch.equal(output, run(backbone, batch))


def test_everything_shrunk_before_the_end_still_settles(supernet: Supernet) -> None:
    nn.init.constant_(alpha(supernet), -9.0)
    optimizer = torch.optim.AdamW([*supernet.adapter.parameters(), *supernet.gates.variables])
    supernet.shrink(optimizer)
    supernet.sample_gates()
    assert supernet.structure() == Structure()
    assert float(supernet.cost()) == 0
    assert supernet.discretize(optimizer).structure == Structure()


def test_structure_made_for_another_model(backbone: nn.Module) -> None:
    elsewhere = Structure.at([Site(0, "transformer.h.0.mlp", "linear", 4, 4)], "lora", 1)
    with pytest.raises(SlatError, match=r"the model has no module transformer\.h\.0\.mlp"):
        attach(backbone, elsewhere)
    wrong = Structure.at([Site(0, "encoder.layer.0.attention.self.query", "q", 384, 128)], "lora", 1)
    with pytest.raises(SlatError, match="is 384 -> 128 there, not so in this model"):
        attach(backbone, wrong)


def test_unknown_kind_and_empty_space(sites: tuple[Site, ...]) -> None:
    with pytest.raises(SlatError, match="unknown kind 'lorra'; kinds are spectral, lora"):
        Space({"lorra": Candidate(4)})
    with pytest.raises(SlatError, match="no candidate fits any site"):
        Space({"norm": Candidate(1)}).supernet([s for s in sites if not s.is_norm])
