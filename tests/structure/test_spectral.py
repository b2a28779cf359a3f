"""Spectral cores: numbers between singular directions of the frozen weights."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from slat_search import SlatError, Structure, attach
from slat_search.structure import (
    Candidate,
    ModuleSpec,
    Site,
    Space,
    find_sites,
)
from slat_search.structure import singular as singular_module
from slat_search.structure.singular import singular_basis
from slat_search.structure.spectral import Spectral
from tests.structure.test_families import SMALL
from tests.structure.test_kinds import shake

ENTRIES = ((0, 1), (0, 3), (2, 1), (5, 0), (5, 3))


def chosen(site: Site, entries: tuple[tuple[int, int], ...] = ENTRIES) -> Structure:
    return Structure((ModuleSpec(site, "spectral", len(entries), entries),))


def weight_and_layer(backbone: nn.Module, site: Site) -> tuple[Tensor, nn.Linear]:
    layer = backbone.get_submodule(site.name)
    assert isinstance(layer, nn.Linear)
    return layer.weight, layer


def test_directions_are_the_leading_singular_ones_with_a_fixed_sign(backbone: nn.Module) -> None:
    for site in [s for s in find_sites(backbone) if s.layer == 2 and not s.is_norm]:
        weight, layer = weight_and_layer(backbone, site)
        basis = singular_basis(layer, 16)
        _, lengths, right = torch.linalg.svd(weight.double(), full_matrices=False)
        core = basis.left.double().T @ weight.double() @ basis.right.double().T
        torch.testing.assert_close(core, lengths[:16].diag(), atol=1e-5, rtol=1e-5)
        assert ((basis.right.double() @ right[:16].T).abs().diag() > 0.999).all()
        largest = basis.left.gather(0, basis.left.abs().argmax(dim=0, keepdim=True))
        assert (largest > 0).all()


def test_fewer_directions_are_the_first_of_more_and_another_weight_has_its_own(backbone: nn.Module) -> None:
    layer = nn.Linear(48, 40)
    many = singular_basis(layer, 40)
    assert torch.equal(singular_basis(layer, 5).left, many.left[:, :5])
    assert torch.equal(singular_basis(layer, 5).right, many.right[:5])
    with torch.no_grad():
        layer.weight.mul_(torch.rand_like(layer.weight))
    changed = singular_basis(layer, 40)
    assert not torch.allclose(changed.left, many.left, atol=0.1)
    with pytest.raises(SlatError, match=r"a weight of \(40, 48\) has no 41 singular directions"):
        singular_basis(layer, 41)


def test_a_weight_of_low_rank_has_orthonormal_directions_too() -> None:
    layer = nn.Linear(24, 20)
    with torch.no_grad():
        layer.weight.copy_(torch.outer(torch.rand(20), torch.rand(24)))
    basis = singular_basis(layer, 20)
    torch.testing.assert_close(basis.left.T @ basis.left, torch.eye(20), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis.right @ basis.right.T, torch.eye(20), atol=1e-5, rtol=0)


def test_subspace_iteration_finds_what_the_exact_way_finds(
    backbone: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is used for weights of thousands of rows, on a weight where the exact directions are known."""
    weight = backbone.get_submodule(find_sites(backbone)[0].name).weight
    exact = singular_module._compute_basis(weight, 8, weight.device)
    monkeypatch.setattr(singular_module, "_EXACT_UP_TO", 0)
    near = singular_module._compute_basis(weight, 8, weight.device)
    torch.testing.assert_close(near.left, exact.left, atol=1e-3, rtol=0)
    torch.testing.assert_close(near.right, exact.right, atol=1e-3, rtol=0)


def test_computes_its_formula_with_the_directions_that_are_used(backbone: nn.Module) -> None:
    site = next(s for s in find_sites(backbone) if s.role == "mlp_out")
    _, layer = weight_and_layer(backbone, site)
    adapter = attach(backbone, chosen(site))
    shake(adapter)
    (part,) = (p for s in adapter.site_adapters() for p in s.parts.values())
    assert isinstance(part, Spectral)
    assert part.shape == (3, 3)
    assert part.left.shape == (site.d_out, 3)
    x = torch.randn(2, 7, site.d_in)
    adapted = layer(x)
    adapter.detach()
    basis = singular_basis(layer, 6)
    core = torch.zeros(6, 6)
    for entry, value in zip(ENTRIES, part.core.detach(), strict=True):
        core[entry] = value
    expected = layer(x) + 2 * x @ basis.right.T @ core.T @ basis.left.T
    torch.testing.assert_close(adapted, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("entries", [((0, 0), (0, 1), (0, 4)), ((0, 0), (1, 0), (4, 0)), ((3, 3),)])
def test_its_rank_is_that_of_the_side_with_fewer_directions(
    backbone: nn.Module, entries: tuple[tuple[int, int], ...]
) -> None:
    site = find_sites(backbone)[0]
    adapter = attach(backbone, chosen(site, entries))
    shake(adapter)
    (part,) = (p for s in adapter.site_adapters() for p in s.parts.values())
    factors = part.low_rank()
    adapter.detach()
    assert factors is not None
    down, up = factors
    assert down.shape == (1, site.d_in)
    assert up.shape == (site.d_out, 1)


def test_the_gradient_at_zero_is_the_weight_s_between_the_directions(backbone: nn.Module, batch: dict) -> None:
    """``s u_i^T G v_j``, so that every entry of a model can be judged before one of them trains."""
    site = next(s for s in find_sites(backbone) if s.role == "mlp_in" and s.layer == 3)
    weight, layer = weight_and_layer(backbone, site)
    weight.requires_grad_(True)
    try:
        (full,) = torch.autograd.grad(backbone(**batch).last_hidden_state.square().mean(), weight)
    finally:
        weight.requires_grad_(False)
    adapter = attach(backbone, Structure.cores([site], 8))
    backbone(**batch).last_hidden_state.square().mean().backward()
    (core,) = adapter.parameters()
    adapter.detach()
    basis = singular_basis(layer, 8)
    expected = 2 * basis.left.T @ full @ basis.right.T
    torch.testing.assert_close(core.grad.view(8, 8), expected, atol=1e-6, rtol=1e-3)


def test_gpt2_keeps_its_weights_the_other_way_round() -> None:
    torch.manual_seed(0)
    config = hf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32)
    model = hf.GPT2Model(config).requires_grad_(False).eval()
    ids = torch.arange(1, 9)[None]
    before = model(input_ids=ids).last_hidden_state
    adapter = attach(model, Structure.cores(find_sites(model), 3))
    shake(adapter)
    adapted = model(input_ids=ids).last_hidden_state
    assert not torch.allclose(before, adapted, atol=1e-3)
    assert not adapter.merge().modules
    torch.testing.assert_close(model(input_ids=ids).last_hidden_state, adapted, atol=1e-5, rtol=1e-4)


def test_half_precision_weights_get_directions_and_entries_in_float32() -> None:
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig(**SMALL), add_pooling_layer=False).requires_grad_(False).to(torch.bfloat16)
    adapter = attach(model, Structure.cores(find_sites(model), 2))
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    model(input_ids=torch.tensor([[1, 5, 6, 2]])).last_hidden_state.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adapter.parameters())
    adapter.detach()


def test_cores_and_candidates_end_at_the_directions_that_a_weight_has() -> None:
    narrow = Site(0, "layer.0.q", "q", 3, 8)
    assert Structure.cores([narrow], 5).params == 9
    assert Space({"spectral": Candidate(32)}).supernet([narrow]).params == 9


def test_uniform_cores_grow_square_by_square() -> None:
    sites = tuple(Site(0, f"layer.0.{role}", role, 8, 8) for role in ("q", "k", "v"))
    assert Structure.uniform(sites, 3 * 4, "spectral") == Structure.cores(sites, 2)
    assert Structure.uniform(sites, 3 * 9, "spectral") == Structure.cores(sites, 3)


@pytest.mark.parametrize(
    ("size", "entries", "message"),
    [
        (2, ((0, 0),), "has size 2 and 1 entries"),
        (2, ((1, 0), (0, 0)), "entries must increase and be different"),
        (2, ((0, 0), (0, 0)), "entries must increase and be different"),
        (1, ((0, 4),), r"there is no entry \[0, 4\] among 4 directions"),
        (1, ((-1, 0),), r"there is no entry \[-1, 0\] among 4 directions"),
    ],
)
def test_entries_that_cannot_be_say_so(size: int, entries: tuple[tuple[int, int], ...], message: str) -> None:
    site = Site(0, "layer.0.q", "q", 4, 6)
    with pytest.raises(SlatError, match=f"spectral at layer.0.q:? ?{message}"):
        ModuleSpec(site, "spectral", size, entries)


def test_other_kinds_take_no_entries() -> None:
    with pytest.raises(SlatError, match=r"lora at layer\.0\.q takes no entries"):
        ModuleSpec(Site(0, "layer.0.q", "q", 4, 6), "lora", 1, ((0, 0),))


def test_set_operations_go_by_entries() -> None:
    site = Site(0, "layer.0.q", "q", 6, 6)
    one, two = chosen(site, ((0, 0), (1, 2))), chosen(site, ((1, 2), (3, 3)))
    assert (one | two) == chosen(site, ((0, 0), (1, 2), (3, 3)))
    assert (one & two) == chosen(site, ((1, 2),))
    assert one.overlap(two) == pytest.approx(1 / 3)


def test_entries_are_refused_between_other_directions(bare: nn.Module) -> None:
    """Whoever loads entries on other weights would get a model that nobody trained."""
    structure = Structure.cores(find_sites(bare), 2)
    adapter = attach(bare, structure)
    shake(adapter)
    state = adapter.state_dict()
    adapter.detach()
    again = attach(bare, structure)
    again.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    again.detach()
    without = {name: value for name, value in state.items() if not name.endswith(".probe")}
    by_hand = attach(bare, structure)
    by_hand.load_state_dict(without)
    by_hand.detach()
    with torch.no_grad():
        layer = bare.get_submodule(find_sites(bare)[0].name)
        layer.weight.copy_(torch.randn_like(layer.weight))
    other = attach(bare, structure)
    with pytest.raises(SlatError, match=r"sites\..*: the model's weights have other singular directions here"):
        other.load_state_dict(state)
    other.detach()
