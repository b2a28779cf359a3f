"""A batch in micro-batches: the same gradients, and what happens when a GPU has no memory for the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from slat_search.records import Trained
from slat_search.structure import Structure
from slat_search.training.context import Context, prepare
from slat_search.training.evaluate import predict_logits
from slat_search.training.jobs import TrainingJob, train_job
from slat_search.training.memory import OutOfMemoryError, Peak, in_micro_batches_that_fit
from slat_search.training.trial import search_trial
from tests.conftest import small_config

SAMPLED = {"sparsity": 0.5, "learning_rate": 3e-3, "noise_kind": "none", "noise_ratio": 0.0}
TEXTS = 16  # a batch of the small configuration


@pytest.fixture
def memory(context: Context) -> Iterator[list[int]]:
    """A GPU's memory that holds as many texts as the list's last number says: more raise what torch raises."""
    room = [TEXTS]

    def full(module: torch.nn.Module, args: tuple, inputs: dict) -> None:
        if torch.is_grad_enabled() and len(inputs["input_ids"]) > room[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = context.backbone().model.register_forward_pre_hook(full, with_kwargs=True, prepend=True)
    yield room
    handle.remove()


def trial(context: Context, accumulation: int) -> Iterator[dict]:
    return search_trial(context, SAMPLED, [5], accumulation=accumulation)


def found(reports: list[dict]) -> list[tuple]:
    return [(r["step"], r["parts"], r["structure"], r["loss"]) for r in reports]


@pytest.mark.parametrize(
    "kind",
    ["screening", pytest.param("saliency", marks=pytest.mark.slow), pytest.param("sigmoid", marks=pytest.mark.slow)],
)
def test_a_batch_in_parts_is_the_same_search(context: Context, kind: str) -> None:
    context = replace(context, config=small_config(gates={"kind": kind}))
    sampled = {**SAMPLED, "gate_learning_rate": 0.3}
    whole, parted = (list(search_trial(context, sampled, [5], accumulation=accumulation)) for accumulation in (1, 3))
    for one, other in zip(whole, parted, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert other["structure"].overlap(one["structure"]) > 0.98
    assert 0 < whole[-1]["params"] < 430_000  # of 440 k: gates did close


@pytest.mark.slow
def test_what_does_not_fit_goes_in_parts(context: Context, memory: list[int]) -> None:
    memory.append(5)
    reports = list(in_micro_batches_that_fit(TEXTS, partial(trial, context)))
    assert found(reports) == found(list(trial(context, 4)))


@pytest.mark.slow
def test_more_parts_than_texts() -> None:
    """A training set that is smaller than a batch: each text is a part, and saliency is measured every step."""
    few, _ = prepare(small_config(task={"name": "bbc-headline", "max_rows": 10}))
    whole, parted = (list(trial(few, accumulation)) for accumulation in (1, TEXTS))
    assert parted[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=1e-3)
    assert parted[-1]["structure"].overlap(whole[-1]["structure"]) > 0.98


def test_memory_that_runs_out_in_the_middle(context: Context, memory: list[int]) -> None:
    steps = []
    for report in in_micro_batches_that_fit(TEXTS, partial(trial, context)):
        steps.append((report["step"], report["parts"]))
        memory.append(8)
    assert steps == [(5, 1), (5, 2), (10, 2)]


def test_not_even_one_text_fits(context: Context, memory: list[int]) -> None:
    memory.append(0)
    with pytest.raises(OutOfMemoryError, match="full with one text at a time"):
        list(in_micro_batches_that_fit(TEXTS, partial(trial, context)))


def test_an_evaluation_goes_on_with_fewer_texts(context: Context) -> None:
    model, data = context.models()[0], context.tasks[0].validation
    whole = predict_logits(model, data)
    room = [3]

    def full(module: torch.nn.Module, args: tuple, inputs: dict) -> None:
        if len(inputs["input_ids"]) > room[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = context.backbone().model.register_forward_pre_hook(full, with_kwargs=True, prepend=True)
    try:
        np.testing.assert_allclose(predict_logits(model, data), whole, atol=2e-5)
        room.append(0)
        with pytest.raises(torch.OutOfMemoryError):
            predict_logits(model, data)
    finally:
        handle.remove()


def test_a_fixed_training_goes_on_in_parts(context: Context, memory: list[int]) -> None:
    unit = TrainingJob("slat", "lora", 3e-3, 0, options={"structure": Structure.lora(_sites(context), 2).to_dict()})
    _, whole = train_job(context, unit)
    memory.append(8)
    _, parted = train_job(context, unit)
    for name, value in whole.items():
        np.testing.assert_allclose(parted[name], value, atol=2e-3)


def _sites(context: Context) -> tuple:
    from slat_search.structure import find_sites

    return find_sites(context.backbone().model)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_the_peak_is_what_was_taken_and_given_back() -> None:
    peak = Peak()
    first = peak.bytes
    taken = torch.ones(50 * 2**20, device="cuda" if torch.cuda.is_available() else "cpu")  # 200 MiB
    del taken
    assert first is not None
    last = peak.bytes
    assert last is not None
    assert 180 * 2**20 < last - first < 260 * 2**20
    anew = Peak().bytes
    assert anew is not None
    assert anew < 100 * 2**20


def test_a_system_that_does_not_tell_its_memory_trains_all_the_same(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Mac, or in a container without /proc/self/clear_refs."""
    if torch.cuda.is_available():
        pytest.skip("torch tells the memory of a GPU")
    monkeypatch.setattr("slat_search.training.memory._PROCESS", tmp_path / "missing")
    assert Peak().bytes is None
    brief = replace(context, config=small_config(training={"steps": 2, "batch_size": 4}))
    for job in (
        TrainingJob("head", "head", 0.01, 0),
        TrainingJob("search", "search-100", 0.01, 0, options={"budget": 100, "kinds": "spectral"}),
    ):
        trained, _ = train_job(brief, job)
        assert trained.memory is None
        trained.write(tmp_path / "a.train.json")
        assert Trained.read(tmp_path / "a.train.json").memory is None


def test_accumulation_is_the_number_of_parts_to_begin_with(context: Context) -> None:
    training = {"steps": 10, "batch_size": TEXTS, "accumulation": 3}
    parted = replace(context, config=small_config(training=training))
    whole = replace(context, config=small_config(training={**training, "accumulation": 1}))
    job = TrainingJob("slat", "lora", 0.01, 0, options={"structure": Structure.lora(_sites(context), r=2).to_dict()})
    (one, _), (other, _) = train_job(whole, job), train_job(parted, job)
    assert one.validation.loss == pytest.approx(other.validation.loss, rel=1e-3)
    assert one.validation.loss != other.validation.loss  # sums in another order


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["screening", "sigmoid"])
def test_checkpointed_activations_are_the_same_search(context: Context, kind: str) -> None:
    def searched(checkpointing: bool) -> list[dict]:
        model = {"name": "minilm", "gradient_checkpointing": checkpointing}
        config = small_config(gates={"kind": kind}, model=model)
        return list(search_trial(replace(context, config=config), {**SAMPLED, "gate_learning_rate": 0.3}, [5]))

    saved: list[int] = []
    plain = searched(False)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        again = searched(True)
    kept = sum(saved)
    saved.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        searched(False)
    assert [(r["loss"], r["structure"]) for r in again] == [(r["loss"], r["structure"]) for r in plain]
    assert kept < sum(saved)
    modules = list(context.frozen.model.modules())
    assert not any(getattr(module, "gradient_checkpointing", False) for module in modules)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
