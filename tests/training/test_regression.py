"""A task whose label is a number, from file to prediction: the place of a headline's topic in the alphabet."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from slat_search.inference.label_file import label_rows
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import write_adapter
from slat_search.structure import Structure, find_sites
from slat_search.tasks.bbc import articles
from slat_search.tasks.rows import read_rows
from slat_search.training.context import Context, prepare
from slat_search.training.jobs import TrainingJob, evaluate_job, train_job
from slat_search.training.trial import search_trial
from tests.conftest import TEXTS, small_config


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Context:
    path = tmp_path_factory.mktemp("numbers") / "topics.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["headline", "place"])
        writer.writerows((a.headline, 100 + 10.5 * a.topic) for a in articles()[::4])
    task = {"name": "places", "train": path, "text": ["headline"], "label": "place", "metric": "pearson"}
    return prepare(small_config(task=task, training={"steps": 60, "batch_size": 16, "head_learning_rate": 0.03}))[0]


def test_a_regression_is_trained_tested_and_predicted_in_its_own_unit(numbers: Context, tmp_path: Path) -> None:
    (task,) = numbers.tasks
    assert task.labels == ()
    assert task.outputs == 1
    assert task.majority == numbers.majority == 0
    assert task.train.labels.mean() == pytest.approx(0, abs=1e-5)
    assert task.train.labels.std() == pytest.approx(1, abs=1e-5)
    structure = Structure.lora(find_sites(numbers.backbone().model)[:8], r=2)
    job = TrainingJob("slat", "slat-test", 5e-3, 0, options={"structure": structure.to_dict()})
    result, state = train_job(numbers, job)
    assert result.validation.quality > 0.4
    assert result.validation.loss < 1
    tested, predictions = evaluate_job(numbers, job, state)
    assert 0.4 < tested.quality <= 1
    assert np.isnan(predictions["0.confidence"]).all()
    assert np.array_equal(predictions["0.labels"], task.test.labels)
    write_adapter(tmp_path, numbers, job, state, result.validation)
    predicted = load_predictor(tmp_path)(TEXTS)
    assert predicted.shape == (3, 1)
    assert 90 < predicted.min() < predicted.max() < 160
    assert predicted.argmin() == 0  # business
    (tmp_path / "new.csv").write_text("headline\n" + "\n".join(TEXTS))
    labelled = label_rows(load_predictor(tmp_path), read_rows(tmp_path / "new.csv", "--file"))
    assert list(labelled.columns) == ["headline", "predicted"]
    assert np.allclose(labelled.values("predicted"), predicted[:, 0], atol=1e-5)


def test_a_regression_is_searched(numbers: Context) -> None:
    sampled = {"budget": 5_000, "learning_rate": 2e-3, "noise_kind": "mixed", "noise_ratio": 0.1}
    *_, last = search_trial(numbers, sampled, [30])
    assert last["quality"] > 0.3
    assert 0 < last["params"] <= 5_000
    assert np.isfinite(last["loss"])
