"""Several tasks that share one pool: real encoder, three real tasks in little."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from slat_search.config import Config
from slat_search.structure import SharedStructure, Structure, find_sites
from slat_search.tasks.turns import shares, turns
from slat_search.training.balance import Uncertainty
from slat_search.training.context import Context, prepare
from slat_search.training.jobs import TrainingJob, evaluate_job, train_job
from slat_search.training.trial import search_trial
from tests.conftest import small_config

TASKS = [
    {"name": "bbc-headline", "max_rows": 48},
    {"name": "bbc-topic", "max_rows": 48, "max_length": 32},
    {"name": "bbc-match", "max_rows": 48, "max_length": 32},
]
SAMPLED = {"sparsity": 3.0, "learning_rate": 2e-3, "sharing": 0.5, "noise_kind": "none", "noise_ratio": 0.0}


def several(**changes: object) -> Config:
    fields = {
        "task": TASKS[0],
        "tasks": TASKS,
        "training": {"steps": 18, "batch_size": 8},
        "gates": {"warmup": 0.5, "settle": 0.9},
        "evaluation": {"ratios": [0.2]},
    }
    return small_config(**{**fields, **changes})


@pytest.fixture(scope="module")
def pool() -> Context:
    return prepare(several())[0]


def without_times(reports: list[dict]) -> list[dict]:
    dropped = ("seconds", "checkpoint", "state")
    return [{key: value for key, value in report.items() if key not in dropped} for report in reports]


def test_every_task_has_its_share_of_the_turns() -> None:
    for sampling, temperature, expected in (
        ("uniform", 1.0, [1 / 3, 1 / 3, 1 / 3]),
        ("proportional", 1.0, [0.1, 0.3, 0.6]),
        ("temperature", 2.0, np.sqrt([0.1, 0.3, 0.6]) / np.sqrt([0.1, 0.3, 0.6]).sum()),
    ):
        share = shares([100, 300, 600], sampling, temperature)
        assert share == pytest.approx(expected)
        drawn = list(islice(turns(share), 200))
        for upto in (1, 7, 50, 200):
            counts = np.bincount(drawn[:upto], minlength=3)
            assert np.abs(counts - upto * share).max() <= 1


def test_uncertainty_counts_a_task_with_a_high_loss_less() -> None:
    """At the minimum over s of exp(-s) L + s / 2 the weight exp(-s) is 1 / (2 L)."""
    weigh = Uncertainty(2)
    optimizer = torch.optim.Adam(weigh.parameters(), lr=0.05)
    losses = torch.tensor([0.2, 3.0])
    for _ in range(500):
        optimizer.zero_grad()
        sum(weigh(loss, task, 1.0) for task, loss in enumerate(losses)).backward()
        optimizer.step()
    torch.testing.assert_close((-weigh.log_variance).exp(), 1 / (2 * losses), rtol=0.02, atol=0)


def test_uncertainty_does_not_depend_on_micro_batches() -> None:
    weigh = Uncertainty(2)
    torch.nn.init.constant_(weigh.log_variance, 0.7)
    whole = weigh(torch.tensor(2.0), 1, 1.0)
    parts = weigh(torch.tensor(0.5), 1, 0.25) + weigh(torch.tensor(1.5), 1, 0.75)
    torch.testing.assert_close(parts, whole)
    slopes = [torch.autograd.grad(loss, weigh.log_variance)[0] for loss in (whole, parts)]
    torch.testing.assert_close(*slopes)


def test_a_search_over_several_tasks_reports_their_means_and_one_shared_structure(pool: Context) -> None:
    saliency = replace(pool, config=several(gates={"kind": "saliency", "warmup": 0.5, "settle": 0.9}))
    first, last = list(search_trial(saliency, SAMPLED, [9]))
    for report in (first, last):
        by_task = report["tasks"]
        assert list(by_task) == [task["name"] for task in TASKS]
        assert report["quality"] == pytest.approx(np.mean([found["quality"] for found in by_task.values()]))
        assert report["quality_worst"] == min(found["quality"] for found in by_task.values())
        assert isinstance(report["structure"], SharedStructure)
        assert report["params"] == report["structure"].params
    assert last["params"] < first["params"]
    own = [last["structure"].of(task).params for task in last["structure"].tasks]
    assert max(own) <= last["params"] < sum(own)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in pool.backbone().model.modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gates", "sampled", "multitask"),
    [
        ({"kind": "screening"}, {}, {"balance": "uncertainty", "sampling": "proportional"}),
        ({"kind": "saliency"}, {}, {"sampling": "proportional"}),
        ({"kind": "hard_concrete"}, {"sparsity": 300.0, "gate_learning_rate": 1.0}, {}),
    ],
)
def test_left_at_any_report_and_gone_on_with_is_never_left(
    pool: Context, gates: dict, sampled: dict, multitask: dict
) -> None:
    config = several(gates={**gates, "warmup": 0.4, "settle": 0.8}, multitask=multitask)
    context, values, stops = replace(pool, config=config), {**SAMPLED, **sampled}, [4, 11, 16]
    files, whole = [], []
    for report in search_trial(context, values, stops):
        if "checkpoint" in report:
            file = io.BytesIO()
            torch.save(report["checkpoint"], file)
            files.append(file.getvalue())
        whole.append(report)
    assert len({report["params"] for report in whole}) > 1
    for place in (0, 1):
        torch.manual_seed(place)
        checkpoint = torch.load(io.BytesIO(files[place]), weights_only=True)
        again = list(search_trial(context, values, stops, checkpoint))
        assert without_times(again) == without_times(whole)[place:], stops[place]


def test_each_task_screens_its_own_entries_of_one_pool(pool: Context) -> None:
    first, last = list(search_trial(pool, {**SAMPLED, "budget": 300.0, "kinds": "spectral", "sharing": 1.0}, [9]))
    assert first["params"] == 0  # before anything is chosen
    assert 0.9 * 300 <= last["params"] <= 300
    structures = [last["structure"].of(task) for task in last["structure"].tasks]
    assert len(set(structures)) == 3
    assert all({m.kind for m in structure.modules} == {"spectral"} for structure in structures)
    assert all(0 < structure.params < last["params"] for structure in structures)


@pytest.mark.slow
def test_a_found_pool_is_trained_again_and_tested(pool: Context) -> None:
    *_, last = search_trial(pool, SAMPLED, [])
    unit = TrainingJob("slat", "slat", 3e-3, 0, options={"structure": last["structure"].to_dict()})
    result, state = train_job(pool, unit)
    assert result.params == last["structure"].params
    assert {name.split(".")[0] for name in state} == {"adapter", "heads"}
    measures, said = evaluate_job(pool, unit, state)
    for number, (task, found) in enumerate(measures.tasks.items()):
        assert np.mean(said[f"{number}.outputs"][0] == said[f"{number}.labels"]) == pytest.approx(found.quality), task
    again, _ = train_job(pool, unit)
    assert again.validation == result.validation


def test_a_search_of_soft_gates_is_tested_with_the_scales_that_it_ended_with(pool: Context) -> None:
    gates, training = {"kind": "sigmoid", "warmup": 0.2, "settle": 0.8}, {"steps": 6, "batch_size": 8}
    config = several(tasks=TASKS[:2], gates=gates, training=training)
    tasks = tuple(replace(task, test=task.validation, test_perturbed={}) for task in pool.tasks[:2])
    context = replace(pool, config=config, tasks=tasks)
    options = {"sparsity": 1.0, "gate_learning_rate": 0.5, "sharing": 0.5}
    searched, state = train_job(context, TrainingJob("search", "search", 3e-3, 0, options=options))
    scales = state["adapter.scales"]
    assert len(np.unique(scales)) > 2
    job = TrainingJob("slat", "slat", 3e-3, 0, options={"structure": searched.structure})
    tested, _ = evaluate_job(context, job, state)
    for name, test in tested.tasks.items():
        assert test.loss == pytest.approx(searched.validation.of(name).loss, rel=1e-5)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"size": 2, "roles": ["q", "v"]}),
        pytest.param("full", {}, marks=pytest.mark.slow),
        pytest.param("head", {}, marks=pytest.mark.slow),
    ],
)
def test_hand_made_methods_are_shared_by_all_tasks(pool: Context, method: str, options: dict) -> None:
    before = {name: value.clone() for name, value in pool.backbone().model.state_dict().items()}
    unit = TrainingJob(method, method, 1e-3, 0, options=options)
    result, state = train_job(pool, unit)
    measures, _ = evaluate_job(pool, unit, state)
    assert list(measures.tasks) == list(result.validation.tasks) == [task["name"] for task in TASKS]
    after = pool.backbone().model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_task_in_a_pool_of_its_own_trains_as_it_does_alone(pool: Context) -> None:
    """Modules that nothing is shared of: what another task does in between changes nothing but the number of steps."""
    sites = find_sites(pool.backbone().model)
    lora = Structure.lora(sites, r=1)
    alone = TrainingJob("slat", "alone", 3e-3, 0, options={"structure": lora.to_dict()})
    apart = SharedStructure.apart({task["name"]: lora for task in TASKS})
    shared = TrainingJob("slat", "apart", 3e-3, 0, options={"structure": apart.to_dict()})
    one, _ = train_job(pool.of(0), alone)
    three, _ = train_job(pool, shared)
    assert three.params == 3 * one.params
    result = three.validation.tasks[TASKS[0]["name"]]
    assert result.loss == pytest.approx(one.validation.loss, abs=0.3)
