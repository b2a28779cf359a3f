from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slat_search import SlatError
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import adapter_folder, write_adapter
from slat_search.structure import Structure, description_bytes, find_sites
from slat_search.training.context import Context
from slat_search.training.evaluate import predict_logits, predict_sets, quality
from slat_search.training.jobs import TrainingJob, evaluate_job, train_job
from tests.conftest import TEXTS, small_config, with_task


@pytest.fixture(scope="module")
def job(context: Context) -> TrainingJob:
    sites = find_sites(context.backbone().model)
    structure = Structure.houlsby(sites[:8], 4)
    return TrainingJob("slat", "slat-test", 5e-3, 0, options={"structure": structure.to_dict()})


def test_training_is_repeatable_and_follows_its_seed(context: Context, job: TrainingJob) -> None:
    (one, state), (two, again) = train_job(context, job), train_job(context, job)
    assert one.validation == two.validation
    assert state.keys() == again.keys()
    assert all(np.array_equal(state[name], again[name]) for name in state)
    _, other = train_job(context, replace(job, seed=1))
    assert any(not np.array_equal(state[name], other[name]) for name in state)


def test_a_head_that_trains_first_and_modules_after_it(context: Context, job: TrainingJob) -> None:
    def trained(share: float) -> dict[str, np.ndarray]:
        training = context.config.training.model_copy(update={"head_first": share})
        config = context.config.model_copy(update={"training": training})
        return train_job(replace(context, config=config), job)[1]

    alone, half = trained(1.0), trained(0.5)
    moved = [name for name in alone if name.startswith("adapter.") and not np.array_equal(half[name], alone[name])]
    assert any(not alone[name].any() for name in moved)  # where a module adds nothing at first, it still does
    assert all(np.any(alone[name] != half[name]) for name in alone if name.startswith("head."))


def test_training_learns(context: Context, job: TrainingJob) -> None:
    result, _ = train_job(context, job)
    assert result.validation.quality > context.majority + 0.1


def test_test_quality_is_that_of_the_trained_weights(context: Context, job: TrainingJob) -> None:
    result, state = train_job(context, job)
    task = context.tasks[0]
    perturbed = {("typos", 0.2): task.validation_perturbed}
    on_validation = with_task(context, test=task.validation, test_perturbed=perturbed)
    tested, predictions = evaluate_job(on_validation, job, state)
    (test,) = tested.by_number
    assert tested.quality == test.quality == result.validation.quality
    assert test.seconds_of_one is not None
    assert test.seconds_of_one > 0
    assert test.perturbed[0].quality == result.validation.quality_perturbed
    right = predictions["0.outputs"] == predictions["0.labels"]
    assert right.mean(axis=1).tolist() == test.qualities
    assert ((predictions["0.confidence"] >= 1 / 5) & (predictions["0.confidence"] <= 1)).all()


def test_the_head_alone_learns_at_its_own_rate(context: Context) -> None:
    _, slow = train_job(context, TrainingJob("head", "head", 1e-6, 0))
    _, fast = train_job(context, TrainingJob("head", "head", 1e-1, 0))
    assert set(slow) == {"head.weight", "head.bias"}
    assert np.abs(fast["head.bias"] - slow["head.bias"]).max() > 0.05


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_padding_does_not_change_a_prediction(context: Context, pooling: str) -> None:
    config = context.config.model_copy(update={"model": context.config.model.model_copy(update={"pooling": pooling})})
    model = replace(context, config=config).models()[0]
    data = context.tasks[0].validation
    together, alone = (predict_logits(model, data, batch_size=size) for size in (len(data), 1))
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_joint_prediction_is_that_of_each_set(context: Context) -> None:
    model = context.models()[0]
    sets = [context.tasks[0].test, *context.tasks[0].test_perturbed.values()]
    for data, logits in zip(sets, predict_sets(model, sets), strict=True):
        np.testing.assert_allclose(logits, predict_logits(model, data), atol=2e-5)


def test_metrics_against_known_values() -> None:
    labels = np.array([0, 0, 1, 1])
    logits = np.eye(2)[[0, 1, 1, 1]]
    assert quality("accuracy", labels, logits) == 0.75
    assert quality("f1", labels, logits) == pytest.approx(0.8)
    assert quality("macro_f1", labels, logits) == pytest.approx((0.8 + 2 / 3) / 2)
    assert quality("matthews", labels, logits) == pytest.approx(1 / 3**0.5)


@pytest.mark.parametrize("method", ["slat", "lora", "bitfit", "head"])
def test_a_saved_adapter_predicts_as_it_did(context: Context, job: TrainingJob, tmp_path: Path, method: str) -> None:
    if method != "slat":
        options = {"size": 2, "roles": ["q"]} if method == "lora" else {}
        job = TrainingJob(method, method, 5e-3, 0, options=options)
    result, state = train_job(context, job)
    write_adapter(tmp_path / "adapter", context, job, state, result.validation)
    predictor = load_predictor(tmp_path / "adapter")
    probabilities = predictor(TEXTS)
    assert probabilities.shape == (3, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    data = context.tasks[0].validation
    correct = predict_logits(predictor.model, data).argmax(axis=1) == data.labels
    assert correct.mean() == pytest.approx(result.validation.quality)
    assert not any(p.suffix in (".pkl", ".bin", ".pt") for p in (tmp_path / "adapter").iterdir())


def test_two_adapters_side_by_side(context: Context, job: TrainingJob, tmp_path: Path) -> None:
    loaded = []
    for seed in (0, 1):
        seeded = replace(job, seed=seed)
        result, state = train_job(context, seeded)
        write_adapter(tmp_path / str(seed), context, seeded, state, result.validation)
        loaded.append(load_predictor(tmp_path / str(seed)))
    first = loaded[0](TEXTS)
    assert not np.allclose(first, loaded[1](TEXTS))
    assert np.array_equal(first, loaded[0](TEXTS))


def test_broken_adapter_folders_are_one_sentence(context: Context, job: TrainingJob, tmp_path: Path) -> None:
    with pytest.raises(SlatError, match="neither an adapter folder nor a finished run"):
        load_predictor(tmp_path)
    result, state = train_job(context, job)
    write_adapter(tmp_path, context, job, state, result.validation)
    assert adapter_folder(tmp_path) == tmp_path
    predictor = load_predictor(tmp_path)
    with pytest.raises(SlatError, match="wants 1 non-empty text"):
        predictor(["  "])
    weights = tmp_path / "adapter.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(SlatError, match="damaged"):
        load_predictor(tmp_path)


def test_a_search_is_a_unit_whose_own_weights_are_the_result(context: Context) -> None:
    job = TrainingJob("search", "search-4000", 3e-3, 1, options={"budget": 4000})
    result, state = train_job(context, job)
    structure = Structure.from_dict(result.structure)
    assert 0 < structure.params == result.params <= 4000
    assert result.bytes == 4 * structure.params + description_bytes(structure)
    trained = {name for name in state if name.startswith("adapter.") and not name.endswith(".probe")}
    assert sum(state[name].size for name in trained) == structure.params
    on_validation = with_task(context, test=context.tasks[0].validation, test_perturbed={})
    found = replace(job, method="slat", options={"structure": structure.to_dict()})
    assert evaluate_job(on_validation, found, state)[0].quality == result.validation.quality
    _, other = train_job(context, replace(job, seed=2))
    assert not np.array_equal(other["head.weight"], state["head.weight"])


def test_precision_is_the_contexts_own(context: Context, job: TrainingJob) -> None:
    """bfloat16 rounds the factors of products alone: other numbers, the same lesson; and float32 comes back."""
    rounded = small_config(model={"precision": "bfloat16"})
    exact, _ = train_job(context, job)
    other, state = train_job(replace(context, config=rounded), job)
    assert all(value.dtype == np.float32 for value in state.values())
    assert other.validation.quality == pytest.approx(exact.validation.quality, abs=0.1)
    assert context.backbone().model.config._attn_implementation == "sdpa"
    again, _ = train_job(context, job)
    assert again.validation == exact.validation


def test_a_prediction_is_made_in_the_precision_of_its_training(
    context: Context, job: TrainingJob, tmp_path: Path
) -> None:
    rounded = replace(context, config=small_config(model={"precision": "bfloat16"}))
    result, state = train_job(rounded, job)
    write_adapter(tmp_path, rounded, job, state, result.validation)
    torch.set_float32_matmul_precision("highest")
    predictor = load_predictor(tmp_path)
    found = predictor(TEXTS)
    assert torch.get_float32_matmul_precision() == "highest"
    whole = predictor.saved.model.model_copy(update={"precision": "float32"})
    predictor.saved = predictor.saved.model_copy(update={"model": whole})
    exact = predictor(TEXTS)
    assert np.abs(found - exact).max() < 0.05
    assert result.validation.loss > 0
