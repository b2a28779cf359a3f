"""The structure search as a worker runs it: real encoder, real headlines."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from slat_search.config import Config
from slat_search.models.backbone import Backbone
from slat_search.structure import (
    GATES,
    Candidate,
    SearchOptions,
    Site,
    Space,
    Structure,
    Supernet,
    find_sites,
)
from slat_search.tasks import Noise
from slat_search.training.context import Context
from slat_search.training.gate_schedule import SearchPlan, StructureSearch, controller_for
from slat_search.training.loop import DivergedError, Plan, Training
from slat_search.training.protocol import noise_ids
from slat_search.training.task_stream import Source
from slat_search.training.trial import search_trial
from tests.conftest import small_config

SAMPLED = {
    "sparsity": 0.5,
    "learning_rate": 3e-3,
    "gate_learning_rate": 0.3,
    "noise_kind": "mask",
    "noise_ratio": 0.1,
}


FEW = "lora+norm+bias"  # candidates whose whole supernet trains in little time


def reports(context: Context, stops: tuple[int, ...] = (3, 6), **sampled: object) -> list[dict]:
    return list(search_trial(context, {**SAMPLED, **sampled}, list(stops)))


_APART = ("seconds", "measuring_seconds", "state", "checkpoint")


def without_times(found: list[dict]) -> list[dict]:
    """Reports that can be compared; weights as bytes."""
    plain = [{key: value for key, value in report.items() if key not in _APART} for report in found]
    weights = {name: value.tobytes() for name, value in found[-1]["state"].items()}
    return [*plain, weights]


@pytest.mark.parametrize(("kind", "sparsity"), [("sigmoid", 0.5), ("saliency", 1.0)])
def test_a_report_at_every_stop_and_at_the_end(context: Context, kind: str, sparsity: float) -> None:
    config = small_config(gates={"kind": kind, "shrink_every": 0.1})
    result = reports(replace(context, config=config), sparsity=sparsity)
    assert [r["step"] for r in result] == [3, 6, 10]
    for report in result:
        assert report["params"] == report["structure"].params
        assert 0 <= report["quality"] <= 1
    assert result[-1]["params"] < result[0]["params"]


def test_same_seed_same_reports_and_another_seed_others(context: Context) -> None:
    first = without_times(reports(context))
    assert first == without_times(reports(context))
    assert first != without_times(reports(replace(context, config=small_config(seed=1))))


@pytest.mark.parametrize(
    ("gates", "sampled", "training", "left_at"),
    [
        ({"kind": "screening"}, {"sparsity": 3.0, "noise_kind": "mixed"}, {}, (1,)),
        ({"kind": "screening", "pruned": 0.9}, {"budget": 500.0}, {"steps": 16}, (2,)),  # while the surplus leaves
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ({"kind": "screening"}, {"sparsity": 3.0, "noise_kind": "mixed"}, {}, (0, 2)),
                ({"kind": "saliency"}, {"sparsity": 1.0, "noise_kind": "mixed", "kinds": FEW}, {}, (0, 1, 2)),
                ({"kind": "saliency"}, {"budget": 3000.0, "noise_kind": "embedding", "kinds": FEW}, {}, (1,)),
                ({"kind": "hard_concrete"}, {"sparsity": 50.0}, {"warmup": 0.5}, (0, 2)),
                ({"kind": "sigmoid"}, {"budget": 3000.0}, {}, (1,)),
            )
        ),
    ],
)
def test_left_at_any_report_and_gone_on_with_is_never_left(
    context: Context, gates: dict, sampled: dict, training: dict, left_at: tuple[int, ...]
) -> None:
    """Through bytes and a fresh supernet: before the gates move, while atoms are removed, and when they are gone."""
    config = small_config(gates={**gates, "warmup": 0.2, "settle": 0.7}, training={"steps": 10, **training})
    context = replace(context, config=config)
    values, stops = {**SAMPLED, **sampled}, [1, 5, 8]
    files: list[bytes] = []
    whole: list[dict] = []
    for report in search_trial(context, values, stops):
        if "checkpoint" in report:
            file = io.BytesIO()
            torch.save(report["checkpoint"], file)
            files.append(file.getvalue())
        whole.append(report)
    assert len(files) == len(stops)
    for place in left_at:
        torch.manual_seed(place)  # whatever another process did before
        checkpoint = torch.load(io.BytesIO(files[place]), weights_only=True)
        again = list(search_trial(context, values, stops, checkpoint))
        assert without_times(again) == without_times(whole)[place:], stops[place]
        assert again[0]["seconds"] > whole[place - 1]["seconds"] * (place > 0)


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("screening", (0.1, 1.0, 10.0)),
        pytest.param("sigmoid", (0.0, 1.0, 10.0), marks=pytest.mark.slow),
        pytest.param("saliency", (0.0, 1.0, 10.0), marks=pytest.mark.slow),
    ],
)
def test_more_sparsity_fewer_parameters(context: Context, kind: str, weights: tuple[float, ...]) -> None:
    of_kind = replace(context, config=small_config(gates={"kind": kind}))
    sizes = [reports(of_kind, (), sparsity=weight, gate_learning_rate=1.0)[-1]["params"] for weight in weights]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[2]


@pytest.mark.parametrize("kind", GATES)
def test_a_budget_is_held_within_one_percent(context: Context, kind: str) -> None:
    config = small_config(gates={"kind": kind})
    settings = {key: value for key, value in SAMPLED.items() if key != "sparsity"}
    for budget in (4_000, 40_000):
        last = list(search_trial(replace(context, config=config), {**settings, "budget": budget}, []))[-1]
        # the smallest atom has 384 parameters; all of that size may have been removed, the next one has 768
        assert 0.99 * budget - 768 < last["params"] <= budget


def test_what_is_larger_than_the_budget_pushes_nothing_out(context: Context) -> None:
    """A rank of the MLP's projections has 1,920 parameters here, one of the attention's 768."""
    last = reports(replace(context, config=small_config()), budget=1000.0, kinds="lora")[-1]
    assert [(m.kind, m.size, m.site.d_in, m.site.d_out) for m in last["structure"].modules] == [("lora", 1, 384, 384)]


@pytest.mark.parametrize(("kinds", "found"), [("lora", {"lora"}), ("norm+bias", {"norm", "bias"})])
def test_a_trial_may_choose_among_some_kinds_only(context: Context, kinds: str, found: set[str]) -> None:
    last = reports(replace(context, config=small_config()), budget=8000.0, kinds=kinds)[-1]
    assert {m.kind for m in last["structure"].modules} == found


def test_the_engine_alone_does_what_the_command_line_does(context: Context) -> None:
    """No option given on either side: the same structure and weights, bit for bit."""
    config = Config(task=context.config.task, training=context.config.training)
    (by_config,) = search_trial(replace(context, config=config), {**SAMPLED, "sparsity": 3.0}, [])

    torch.manual_seed(config.seed)
    model = context.models()[0]
    supernet = Supernet(model.backbone, find_sites(model.backbone))
    steps, noise = config.training.steps, Noise(SAMPLED["noise_kind"], SAMPLED["noise_ratio"])
    training = Plan(
        steps, config.training.batch_size, SAMPLED["learning_rate"], config.training.head_learning_rate, noise=noise
    )
    search = controller_for(supernet, SearchPlan(sparsity=3.0), steps)
    ids = noise_ids(context)
    for _ in Training(
        [Source(model, context.tasks[0].train)], supernet.adapter, training, controller=search, **ids
    ).run():
        pass
    adapter = supernet.discretize()
    supernet.detach()
    assert adapter.structure == by_config["structure"]
    state = by_config["state"]
    assert all(np.array_equal(state[f"adapter.{name}"], p.numpy()) for name, p in adapter.state_dict().items())
    assert np.array_equal(state["head.weight"], model.head.weight.detach().numpy())


def test_a_trial_that_is_left_early_leaves_the_backbone_bare(context: Context) -> None:
    with closing(search_trial(context, SAMPLED, [3])) as trial:
        next(trial)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in context.backbone().model.modules())


def test_a_nan_loss_is_told_in_one_sentence_and_leaves_the_backbone_bare(context: Context) -> None:
    trained = replace(context, config=small_config(gates={"kind": "saliency"}))
    with pytest.raises(DivergedError, match="the loss was not finite before step 3; a smaller learning rate may help"):
        reports(trained, learning_rate=1e30)
    with pytest.raises(DivergedError, match="the loss was not finite before step 10"):
        reports(context, learning_rate=1e30)  # screened candidates stand still at first
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in context.backbone().model.modules())


def test_all_gates_closed_is_a_result(context: Context) -> None:
    gates = {"kind": "sigmoid", "init": 0.01, "warmup": 0.0, "settle": 0.9}
    starved = replace(context, config=small_config(gates=gates))
    last = reports(starved, (), sparsity=1e6, gate_learning_rate=1.0)[-1]
    assert last["structure"] == Structure()
    assert last["params"] == 0
    assert last["quality"] > 0


@pytest.mark.parametrize("kind", ["saliency", "screening"])
def test_gates_that_are_measured_never_end_at_the_bare_head(context: Context, kind: str) -> None:
    starved = replace(context, config=small_config(gates={"kind": kind, "warmup": 0.1, "settle": 0.9}))
    last = reports(starved, (), sparsity=1e6)[-1]
    assert 0 < last["params"] < 1000


def test_phases(minilm: Backbone, sites: tuple[Site, ...]) -> None:
    """Gates rest, then move while the weight rises and the temperature falls, then are gone."""
    options = SearchOptions("sigmoid", temperature=(1.0, 0.25), warmup=0.2, settle=0.6, shrink_every=0.1)
    supernet = Supernet(minilm.model, sites[:8], Space({"lora": Candidate(2), "bias": Candidate(1)}), options)
    search = StructureSearch(supernet, SearchPlan(2.0), steps=100)
    optimizer = torch.optim.AdamW([*supernet.adapter.parameters(), *search.parameter_groups()[0]["params"]])
    weights, temperatures = [], []
    for step in range(1, 101):
        if supernet.gates is None:
            break
        assert supernet.gates.each[0].alpha.requires_grad == (step > 20)
        search.after_step(step, optimizer)
        if supernet.gates is not None and step >= 20:
            weights.append(search.ramp)
            temperatures.append(supernet.gates.each[0].temperature)
    assert step == 61
    assert weights == sorted(weights)
    assert weights[0] == 0
    assert weights[-1] == 1.0
    assert temperatures == sorted(temperatures, reverse=True)
    assert temperatures[0] == 1.0
    assert temperatures[-1] == pytest.approx(0.25, rel=0.05)
    assert search.loss() is None
    supernet.detach()


def test_the_learning_rate_grows_as_the_supernet_shrinks(context: Context) -> None:
    """By the given power of how many times fewer parameters stand; the head's rate is left alone."""
    model = context.models()[0]
    sites = find_sites(model.backbone)[:16]
    options = SearchOptions("saliency", warmup=0.0, settle=0.8, shrink_every=0.1, lr_growth=0.5)
    supernet = Supernet(model.backbone, sites, Space({"lora": Candidate(2), "bias": Candidate(1)}), options)
    plan = SearchPlan(budget=2000)
    steps = 20
    rates: list[tuple[float, float]] = []
    standing: list[int] = []

    def watch(optimizer: torch.optim.Optimizer, *_: object) -> None:
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        standing.append(supernet.params)

    handle = register_optimizer_step_pre_hook(watch)
    try:
        training = Plan(steps, 16, 1e-3, 1e-2, warmup=0.0)
        search = StructureSearch(supernet, plan, steps)
        for _ in Training([Source(model, context.tasks[0].train)], supernet.adapter, training, controller=search).run():
            pass
    finally:
        handle.remove()
        supernet.detach()
    assert standing[0] > 10 * standing[-1] > 0
    for (head, modules), params in zip(rates, standing, strict=True):
        assert modules / head == pytest.approx(0.1 * (standing[0] / params) ** 0.5)


@pytest.mark.slow
def test_saliency_prefers_what_lowers_the_loss(context: Context) -> None:
    """With a price, a search by saliency keeps less at a higher one, and something at a low one."""
    config = small_config(gates={"kind": "saliency", "warmup": 0.2, "settle": 0.8}, training={"steps": 20})
    sizes = [
        list(search_trial(replace(context, config=config), {**SAMPLED, "sparsity": weight}, []))[-1]["params"]
        for weight in (0.0, 1.0, 100.0)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[0] == 440_256  # nothing closes without a price
