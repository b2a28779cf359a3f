"""One suite that every kind of module passes; a new kind is tested by being registered."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from slat_search.structure import (
    KINDS,
    Candidate,
    Kind,
    ModuleOptions,
    SearchOptions,
    Site,
    SiteModule,
    Space,
    Structure,
    Supernet,
    attach,
)

Inputs = dict[str, Tensor]


@pytest.fixture(params=KINDS)
def alone(request: pytest.FixtureRequest, sites: tuple[Site, ...]) -> Structure:
    """The kind at every site that it fits."""
    return Structure.at(sites, request.param, 3 if KINDS[request.param].sized else 1)


def shake(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter a value that shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator).to(p.device))


def test_fresh_module_is_the_identity_bit_for_bit(backbone: nn.Module, batch: Inputs, alone: Structure) -> None:
    bare = backbone(**batch).last_hidden_state
    adapter = attach(backbone, alone)
    attached = backbone(**batch).last_hidden_state
    adapter.detach()
    assert torch.equal(bare, attached)


def test_changes_the_output_once_trained_and_leaves_with_detach(
    backbone: nn.Module, batch: Inputs, alone: Structure
) -> None:
    bare = backbone(**batch).last_hidden_state
    adapter = attach(backbone, alone)
    shake(adapter)
    assert not torch.allclose(bare, backbone(**batch).last_hidden_state, atol=1e-3)
    adapter.detach()
    assert torch.equal(bare, backbone(**batch).last_hidden_state)


def test_counts_its_parameters(backbone: nn.Module, alone: Structure) -> None:
    adapter = attach(backbone, alone)
    assert sum(p.numel() for p in adapter.parameters()) == alone.params
    adapter.detach()


def test_every_parameter_gets_a_gradient(backbone: nn.Module, batch: Inputs, alone: Structure) -> None:
    adapter = attach(backbone, alone)
    shake(adapter)
    backbone(**batch).last_hidden_state.square().mean().backward()
    adapter.detach()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())


def test_closed_gate_is_the_identity_and_folding_keeps_the_function(
    backbone: nn.Module, batch: Inputs, alone: Structure
) -> None:
    bare = backbone(**batch).last_hidden_state
    adapter = attach(backbone, alone)
    shake(adapter)
    for gate in (0.0, 0.3):
        for site in adapter.site_adapters():
            site.gates = {name: torch.full((sum(sizes.values()),), gate) for name, sizes in site.kinds.items()}
        if gate == 0:
            assert torch.equal(bare, backbone(**batch).last_hidden_state)
    gated = backbone(**batch).last_hidden_state
    for site in adapter.site_adapters():
        for name, value in site.gates.items():
            site.parts[name].fold(value)
        site.gates.clear()
    folded = backbone(**batch).last_hidden_state
    adapter.detach()
    torch.testing.assert_close(gated, folded, atol=1e-5, rtol=1e-5)


def test_keeping_some_units_equals_gates_of_zero_and_one(backbone: nn.Module, batch: Inputs, alone: Structure) -> None:
    adapter = attach(backbone, alone)
    shake(adapter)
    for site in adapter.site_adapters():
        for name, sizes in site.kinds.items():
            gate = torch.ones(sum(sizes.values()))
            gate[0] = 0
            site.gates[name] = gate
    gated = backbone(**batch).last_hidden_state
    for site in adapter.site_adapters():
        for name, gate in list(site.gates.items()):
            site.gates.clear()
            site.keep(name, gate.nonzero().squeeze(1))
    adapter.drop_empty_sites()
    compact = backbone(**batch).last_hidden_state
    params = sum(p.numel() for p in adapter.parameters())
    left = adapter.structure
    adapter.detach()
    torch.testing.assert_close(gated, compact, atol=1e-5, rtol=1e-5)
    assert params == left.params < alone.params


class Gain(SiteModule):
    """One number that scales a site's output: what a user would write to add a kind."""

    unit_dims: ClassVar[dict[str, int]] = {"gain": 0}
    foldable: ClassVar[tuple[str, ...]] = ("gain",)

    def __init__(self, site: Site, sizes: dict[str, int], options: ModuleOptions):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor, gate: Tensor | None) -> Tensor:
        return y * (1 + (self.gain if gate is None else self.gain * gate))


def test_a_new_kind_is_one_class_and_one_entry(
    backbone: nn.Module, batch: Inputs, sites: tuple[Site, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "gain", Kind("gain", Gain, lambda s: 1, lambda s: s.is_sublayer_output, sized=False))
    supernet = Supernet(backbone, sites, Space({"gain": Candidate(1), "lora": Candidate(2)}), SearchOptions("sigmoid"))
    assert torch.equal(supernet.costs[supernet.costs == 1], torch.ones(12))
    shake(supernet.adapter)
    supernet.eval()
    discretised = backbone(**batch).last_hidden_state
    structure = supernet.structure()
    assert structure.params_by("kind")["gain"] == 12
    assert Structure.from_json(structure.to_json()) == structure
    supernet.discretize()
    torch.testing.assert_close(backbone(**batch).last_hidden_state, discretised, atol=1e-5, rtol=1e-5)
    supernet.detach()
