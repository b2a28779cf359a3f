"""What the recommended method gets wrong: scores, confusions and texts follow from its predictions, within bounds."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from slat_search.analysis.mistakes import TestTexts, mistakes_of, read_mistakes, shown, write_mistakes
from slat_search.analysis.report import analyse, illustrate
from slat_search.errors import SlatError
from slat_search.records import MOST_CLASSES, MOST_LETTERS, MOST_TEXTS, Mistakes
from slat_search.run_folder import RunFolder
from tests.analysis.made import EVIL, made_run
from tests.analysis.test_pool import made_pool

TEXTS = TestTexts([(f"text {i} {EVIL}", "x" * (MOST_LETTERS + i)) for i in range(100)])


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


def with_classes(folder: RunFolder, count: int) -> np.ndarray:
    """Give a run another number of classes, and predictions that are mostly right; returns the labels."""
    path = folder / "environment.json"
    environment = json.loads(path.read_text())
    environment["task"]["labels"] = [f"class {i}" for i in range(count)]
    path.write_text(json.dumps(environment))
    rng = np.random.default_rng(1)
    labels = rng.integers(count, size=100)
    for path in (folder / "units").glob("*.test.safetensors"):
        outputs = np.where(rng.random((3, 100)) < 0.6, labels, rng.integers(count, size=(3, 100)))
        save_file({**load_file(path), "labels": labels, "outputs": outputs}, path)
    return labels


def test_scores_and_confusions_are_those_of_sklearn(folder: RunFolder) -> None:
    labels = with_classes(folder, 4)
    table, data = analyse(folder)
    found = mistakes_of(table, data, {EVIL: TEXTS})
    assert found is not None
    assert found.method == "lora"
    mine = found.tasks[EVIL]
    assert mine.seed == 1  # the best on validation, whose weights are the adapter
    said = load_file(folder / "units" / "lora-1.test.safetensors")
    outputs, confidence = said["outputs"][0], said["confidence"][0]
    assert np.array_equal(mine.confusion, confusion_matrix(labels, outputs))
    expected = np.array(precision_recall_fscore_support(labels, outputs, zero_division=0))
    scores = np.array([(one.precision, one.recall, one.f1, one.texts) for one in mine.classes]).T
    np.testing.assert_allclose(scores, expected)
    wrong = labels != outputs
    assert (mine.wrong, mine.tested) == (wrong.sum(), 100)
    assert len(mine.texts) == MOST_TEXTS < wrong.sum()
    surest = np.sort(confidence[wrong])[::-1][:MOST_TEXTS]
    assert [one.confidence for one in mine.texts] == pytest.approx(surest, abs=1e-4)
    for one in mine.texts:
        number = int(one.texts[0].split()[1])
        assert (one.label, one.predicted) == (f"class {labels[number]}", f"class {outputs[number]}")
        assert len(one.texts[1]) <= MOST_LETTERS


def test_of_many_classes_those_with_most_mistakes_are_shown_and_the_others_together(folder: RunFolder) -> None:
    labels = with_classes(folder, 40)
    table, data = analyse(folder)
    found = mistakes_of(table, data, {})
    assert found is not None
    mine = found.tasks[EVIL]
    assert mine.total == 40
    assert len(mine.classes) == MOST_CLASSES
    assert np.shape(mine.confusion) == (MOST_CLASSES + 1, MOST_CLASSES + 1)
    assert np.sum(mine.confusion) == 100
    outputs = load_file(folder / "units" / "lora-1.test.safetensors")["outputs"][0]
    wrong = Counter(labels[labels != outputs].tolist())
    of_shown = [wrong[int(one.label.split()[1])] for one in mine.classes]
    assert min(of_shown) >= max(
        count for i, count in wrong.items() if f"class {i}" not in {c.label for c in mine.classes}
    )
    (part,) = shown(found, "LoRA")["tasks"]
    assert part["matrix"]["labels"][-1] == "others"
    assert "Shown are the 20 of 40 classes" in part["summary"]


def test_the_page_shows_them_with_escaped_texts_and_a_page_made_anew_too(folder: RunFolder) -> None:
    table, data = analyse(folder)
    page = (folder / "report.html").read_text()
    assert "What LoRA &amp; co gets wrong" in page
    assert "wrong texts" not in page  # of a run that kept none
    write_mistakes(folder, table, data, {EVIL: TEXTS})
    illustrate(folder, data, table)
    page = (folder / "report.html").read_text()
    assert "wrong texts, those first in which the model is most confident" in page
    assert len(re.findall(r"text \d+ &lt;script&gt;", page)) == MOST_TEXTS
    assert "<script>alert" not in page
    analyse(folder)
    assert (folder / "report.html").read_text() == page


def test_what_was_kept_of_another_method_does_not_count(folder: RunFolder) -> None:
    table, data = analyse(folder)
    write_mistakes(folder, table, data, {EVIL: TEXTS})
    kept = Mistakes.read(folder / "mistakes.json")
    assert read_mistakes(folder, table, data) == kept
    kept.model_copy(update={"method": "slat-a"}).write(folder / "mistakes.json")
    again = read_mistakes(folder, table, data)
    assert again is not None
    assert again.method == "lora"
    assert again.tasks[EVIL].texts == ()
    (folder / "mistakes.json").write_text('{"version": 1}')
    with pytest.raises(SlatError, match=r"mistakes\.json: damaged"):
        read_mistakes(folder, table, data)


def test_of_results_without_predictions_there_is_no_section(folder: RunFolder) -> None:
    table, data = analyse(folder)
    assert read_mistakes(folder, table, replace(data, predictions={})) is None


def test_of_a_regression_the_largest_residuals_are_told_in_its_own_scale(folder: RunFolder) -> None:
    config, environment = folder / "config.yaml", folder / "environment.json"
    config.write_text(config.read_text().replace("metric: accuracy", "metric: pearson"))
    facts = json.loads(environment.read_text())
    facts["task"]["labels"] = []
    environment.write_text(json.dumps(facts))
    rng = np.random.default_rng(2)
    labels = rng.normal(size=100).astype(np.float32)
    outputs = labels + rng.normal(scale=0.3, size=(3, 100)).astype(np.float32)
    for path in (folder / "units").glob("*.test.safetensors"):
        confidence = np.full((3, 100), np.nan, dtype=np.float32)
        save_file({"labels": labels, "outputs": outputs, "confidence": confidence}, path)
    table, data = analyse(folder)
    assert mistakes_of(table, data, {}) is None  # without texts nothing is left to show
    found = mistakes_of(table, data, {EVIL: replace(TEXTS, scale=(50.0, 10.0))})
    assert found is not None
    mine = found.tasks[EVIL]
    residuals = np.abs(outputs[0] - labels)
    assert [int(one.texts[0].split()[1]) for one in mine.texts] == np.argsort(-residuals)[:MOST_TEXTS].tolist()
    first = mine.texts[0]
    assert abs(float(first.predicted) - float(first.label)) == pytest.approx(10 * residuals.max(), abs=0.02)
    assert (mine.wrong, mine.classes, mine.confusion, first.confidence) == (None, (), (), None)
    (part,) = shown(found, "LoRA")["tasks"]
    assert part["columns"] == ["text", "label", "predicted"]
    assert {len(row) for row in part["texts"]} == {3}


def test_each_of_several_tasks_has_a_part(tmp_path: Path) -> None:
    folder = made_pool(tmp_path)
    table, data = analyse(folder)
    found = mistakes_of(table, data, {})
    assert found is not None
    assert list(found.tasks) == ["one", "two", EVIL]
    assert (folder / "report.html").read_text().count("Confusion matrix") == 3
