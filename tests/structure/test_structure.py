from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slat_search import SlatError, Structure
from slat_search.structure import (
    KINDS,
    ModuleOptions,
    ModuleSpec,
    Site,
)

SITES = tuple(
    Site(layer, f"layer.{layer}.{role}", role, d_in, d_out)
    for layer in range(3)
    for role, d_in, d_out in (("q", 8, 8), ("v", 8, 8), ("attn_out", 8, 8), ("mlp_out", 16, 8), ("norm", 8, 8))
)
PLACES = [(site, kind) for site in SITES for kind in KINDS if KINDS[kind].fits(site)]


@st.composite
def modules_at(draw: st.DrawFn, site: Site, kind: str) -> ModuleSpec:
    if not KINDS[kind].positional:
        return ModuleSpec(site, kind, draw(st.integers(1, 8)) if KINDS[kind].sized else 1)
    places = st.tuples(st.integers(0, 7), st.integers(0, 7))
    entries = draw(st.sets(places, min_size=1, max_size=8))
    return ModuleSpec(site, kind, len(entries), tuple(sorted(entries)))


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    places = draw(st.lists(st.sampled_from(PLACES), unique=True, max_size=12))
    modules = [draw(modules_at(site, kind)) for site, kind in places]
    options = ModuleOptions(draw(st.sampled_from(["gelu", "relu"])), draw(st.floats(0.25, 8)))
    return Structure(tuple(draw(st.permutations(modules))), options)


@given(structures())
def test_json_and_packed_text_give_the_same_value_back(structure: Structure) -> None:
    for copy in (Structure.from_json(structure.to_json()), Structure.unpack(structure.packed())):
        assert copy == structure
        assert hash(copy) == hash(structure)
        assert copy.digest == structure.digest


@given(structures())
def test_order_of_modules_does_not_matter(structure: Structure) -> None:
    assert Structure(structure.modules[::-1], structure.options) == structure


@given(structures())
def test_parameter_counts_add_up(structure: Structure) -> None:
    for key in ("kind", "layer", "role"):
        assert sum(structure.params_by(key).values()) == structure.params


@given(structures(), structures())
@settings(max_examples=50)
def test_union_holds_both(a: Structure, b: Structure) -> None:
    union = {(m.site, m.kind): m.size for m in (a | b).modules}
    for m in (*a.modules, *b.modules):
        assert union[m.site, m.kind] >= m.size
    assert (a | a) == a
    assert (a | b).modules == (b | a).modules


@given(structures(), structures())
@settings(max_examples=50)
def test_intersection_is_in_both_and_overlap_is_a_share(a: Structure, b: Structure) -> None:
    common = a & b
    assert common.params <= min(a.params, b.params)
    assert (common | a).modules == a.modules
    assert (common | b).modules == b.modules
    assert a.overlap(b) == pytest.approx(b.overlap(a))
    assert 0 <= a.overlap(b) <= 1
    assert a.overlap(a) == 1
    assert common.params + (a | b).params == a.params + b.params


@given(structures(), st.integers(0, 3000), st.integers(0, 3))
@settings(max_examples=50)
def test_random_part_keeps_the_budget_and_is_a_part(whole: Structure, budget: int, seed: int) -> None:
    part = whole.random_part(budget, seed)
    assert part.params <= budget
    assert (part & whole) == part
    assert part == whole.random_part(budget, seed)
    left = budget - part.params
    kept = {(m.site, m.kind): m.size for m in part.modules}
    for m in whole.modules:  # nothing that would still fit is left out
        assert kept.get((m.site, m.kind), 0) == m.size or m.params / m.size > left


@given(st.integers(0, 5000), st.sampled_from(sorted(KINDS)))
def test_uniform_keeps_the_budget_and_is_even(budget: int, kind: str) -> None:
    even = Structure.uniform(SITES, budget, kind)
    assert even.params <= budget
    places = [s for s in SITES if KINDS[kind].fits(s)]
    sizes = {m.site: m.size for m in even.modules}
    most = {s: min(s.d_in, s.d_out) ** 2 if KINDS[kind].positional else budget for s in places}
    if KINDS[kind].sized and any(sizes.get(s, 0) < most[s] for s in places):
        assert budget - even.params < min(KINDS[kind].unit_cost(s) for s in places)
        same_cost = [sizes.get(s, 0) for s in places if s.role == places[0].role]
        assert max(same_cost) - min(same_cost) <= 3


def test_random_is_a_function_of_its_seed() -> None:
    one, again, other = (Structure.random(SITES, 500, seed, size=2) for seed in (0, 0, 1))
    assert one == again != other
    assert 450 < one.params <= 500
    assert {m.kind for m in Structure.random(SITES, 500, 0, kinds=("lora", "bias")).modules} == {"lora", "bias"}


def test_hand_made_sizes() -> None:
    assert Structure.pfeiffer(SITES, 5).params == 3 * (5 * (8 + 8 + 1) + 8)
    assert Structure.parallel(SITES, 2).params == 3 * 2 * ((8 + 8 + 1) + (16 + 8 + 1))
    assert Structure.ia3(SITES).params == 3 * 8
    assert Structure.lora(SITES, r=4).params == 3 * 2 * 4 * (8 + 8)
    assert Structure.lora(SITES, r=4).options.scale == 4
    assert Structure.houlsby(SITES, 5).params == 3 * 2 * (5 * (8 + 8 + 1) + 8)
    assert Structure.bitfit(SITES).params == 3 * 5 * 8


def test_one_line_a_module_in_the_json() -> None:
    text = Structure.lora(SITES, r=2).to_json()
    assert sum('"kind": "lora"' in line for line in text.splitlines()) == 6


def test_empty_structure_is_a_value() -> None:
    empty = Structure()
    assert empty.params == 0
    assert empty.describe() == "0 parameters: the bare head"
    assert Structure.from_json(empty.to_json()) == empty


def test_one_line_for_people() -> None:
    cores = Structure.cores(SITES[:2], 2)
    assert cores.describe() == "8 parameters: spectral 8 entries in 2 sites"
    one = Structure((ModuleSpec(SITES[0], "spectral", 1, ((2, 1),)), *Structure.lora(SITES, 2).modules))
    assert one.describe() == "193 parameters: spectral 1 entry in 1 site, lora 12"


def test_digest_is_the_same_in_another_process() -> None:
    code = "from slat_search.structure import *;print(Structure.lora((Site(0, 'layer.0.q', 'q', 8, 8),), r=2).digest)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == Structure.lora(SITES[:1], r=2).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a structure"),
        ('{"format": "slat-structure/99"}', "format 'slat-structure/99' is not"),
        ('{"format": "slat-structure/1", "activation": "gelu"}', "not a structure"),
        (
            Structure.lora(SITES, r=2).to_json().replace('"lora"', '"lroa"'),
            "unknown kind 'lroa'; kinds are spectral, lora",
        ),
        (Structure.lora(SITES, r=2).to_json().replace('"size": 2', '"size": 0'), "size 0 is not possible for lora"),
        (Structure.bitfit(SITES[:1]).to_json().replace('"bias"', '"serial"'), "serial cannot stand at layer.0."),
        (Structure().to_json().replace("gelu", "glue"), "unknown activation 'glue'"),
    ],
)
def test_bad_json_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(SlatError, match=message):
        Structure.from_json(text)


def test_the_same_module_twice() -> None:
    spec = ModuleSpec(SITES[0], "lora", 2)
    with pytest.raises(SlatError, match=r"lora stands twice at layer\.0\.q"):
        Structure((spec, ModuleSpec(SITES[0], "lora", 4)))


def test_the_room_lists_all_that_it_has() -> None:
    import slat_search.structure as room
    from slat_search.structure import api

    there = {name for name, value in vars(api).items() if name[0].isalpha() and not inspect.ismodule(value)}
    assert set(room.__all__) == there
    assert dir(room) == sorted(there)
