"""What a screening lets stand beside the structure, and how it leaves: real encoder, real headlines."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch

from slat_search.structure import Structure
from slat_search.training.context import Context, prepare
from slat_search.training.trial import search_trial
from tests.conftest import small_config

SAMPLED = {"learning_rate": 0.01, "noise_kind": "none", "noise_ratio": 0.0, "kinds": "spectral"}
TASKS = [{"name": "bbc-headline", "max_rows": 48}, {"name": "bbc-match", "max_rows": 48, "max_length": 32}]
STEPS = 20  # of which 2 are the warm-up and 4 the screening


def reports(
    context: Context, sampled: Mapping[str, object], stops: tuple[int, ...] = (), **gates: object
) -> list[dict]:
    """Reports of a search whose surplus has left after 16 steps."""
    config = context.config.model_copy(
        update={
            "gates": small_config(gates={"pruned": 0.8, **gates}).gates,
            "training": context.config.training.model_copy(update={"steps": STEPS}),
        }
    )
    return list(search_trial(replace(context, config=config), {**SAMPLED, **sampled}, list(stops)))


def test_a_screening_without_a_candidate_ends_as_the_bare_head(context: Context) -> None:
    """Where every atom is larger than the budget."""
    (report,) = reports(context, {"budget": 100.0, "kinds": "lora"})
    assert (report["params"], report["structure"]) == (0, Structure())


def test_a_surplus_stands_at_first_and_has_left_in_time(context: Context) -> None:
    sizes = [report["params"] for report in reports(context, {"budget": 200.0}, (6, 10, 15, 16))]
    assert sizes == [800, *sorted(sizes[1:3], reverse=True), 200, 200]
    assert 200 < sizes[2] < sizes[1] < 800


@pytest.mark.slow
def test_it_is_a_tenth_of_the_candidates_at_most(context: Context) -> None:
    candidates = 36 * 32 * 32
    first, _ = reports(context, {"budget": 2000.0}, (6,))
    assert first["params"] == candidates // 10
    first, _ = reports(context, {"budget": 5000.0}, (6,))
    assert first["params"] == 5000


@pytest.mark.slow
def test_without_one_only_the_structure_trains(context: Context) -> None:
    assert {report["params"] for report in reports(context, {"budget": 200.0}, (6, 10), surplus=1.0)} == {200}


@pytest.mark.slow
def test_a_weight_of_sparsity_ends_at_the_size_that_it_means(context: Context) -> None:
    (alone,) = reports(context, {"sparsity": 30.0}, surplus=1.0)
    first, last = reports(context, {"sparsity": 30.0}, (6,))
    assert last["params"] == alone["params"]
    assert first["params"] == min(4 * alone["params"], 36 * 32 * 32 // 10)


@pytest.mark.slow
def test_several_tasks_prune_one_pool_and_go_on_from_any_report() -> None:
    config = small_config(task=TASKS[0], tasks=TASKS, training={"steps": STEPS, "batch_size": 8})
    context = prepare(config)[0]
    sampled = {"budget": 200.0, "sharing": 0.5}
    context = replace(
        context,
        config=config.model_copy(
            update={"gates": small_config(gates={"pruned": 0.9, "warmup": 0.1, "screen": 0.2}).gates}
        ),
    )
    stops = [14, 18]
    whole, checkpoint = [], b""
    for report in search_trial(context, {**SAMPLED, **sampled}, stops):
        if report["step"] == 14:
            file = io.BytesIO()
            torch.save(report["checkpoint"], file)
            checkpoint = file.getvalue()
        whole.append(report)
    assert whole[0]["params"] > whole[1]["params"] == whole[2]["params"] == 200
    state = torch.load(io.BytesIO(checkpoint), weights_only=True)
    again = list(search_trial(context, {**SAMPLED, **sampled}, stops, state))
    for one, two in zip(again, whole, strict=True):
        assert (one["structure"], one["loss"], one["quality"]) == (two["structure"], two["loss"], two["quality"])
