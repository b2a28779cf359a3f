"""Labels of every type and spelling, their names and their order."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from slat_search import SlatError
from slat_search.config import Task
from slat_search.config.load import load_config
from slat_search.metrics import quality
from slat_search.tasks import SPLITS, TaskData, load_task
from slat_search.tasks.describe import description


def write(path: Path, labels: list[Any]) -> Path:
    rows = [{"text": f"{path.stem} {i}", "label": label} for i, label in enumerate(labels)]
    if path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif path.suffix == ".csv":
        path.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(train: Path, **options: object) -> TaskData:
    return load_task(Task.model_validate({"name": "mine", "train": train, **options}), seed=0)


def names_of(task: TaskData) -> dict[str, str]:
    """The label of each text, by its name."""
    return {e.texts[0]: task.labels[int(e.label)] for split in SPLITS for e in task.splits[split]}


def test_a_label_is_its_text(tmp_path: Path) -> None:
    """007 and 7 are two classes, `NA` and `null` are classes, and space around a label is none of it."""
    given = ["007", "7", "NA", "null", "None", " NA ", "7 ", "nan"] * 8
    task = load(write(tmp_path / "train.csv", given))
    assert task.labels == ("007", "7", "NA", "None", "nan", "null")
    assert [names_of(task)[f"train {i}"] for i in range(len(given))] == [label.strip() for label in given]
    same = [unicodedata.normalize(form, "größe") for form in ("NFC", "NFD")]
    assert load(write(tmp_path / "forms.csv", [*same, "kleinheit", "kleinheit"] * 10)).labels == ("größe", "kleinheit")


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ([0, 1, 2], ["0", "1", "2"]),
        ([0.0, 1.0, 2.0], [0, 1, 2]),
        (["0.0", "1.0", "2"], [2, 1, 0]),
        ([True, False], ["True", "False"]),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_one_class_in_files_of_several_types(tmp_path: Path, train: list[Any], test: list[Any], ending: str) -> None:
    write(tmp_path / "train.jsonl", train * 20)
    write(tmp_path / f"test{ending}", test * 5)
    task = load(tmp_path)
    assert task.labels == (("False", "True") if train[0] is True else ("0", "1", "2"))
    expected = [str(test[i % len(test)]) for i in range(len(test) * 5)]
    assert [names_of(task)[f"test {i}"] for i in range(len(expected))] == expected


def test_numbers_stand_in_their_order(tmp_path: Path) -> None:
    assert load(write(tmp_path / "train.csv", [10, 9, -1, 2] * 10)).labels == ("-1", "2", "9", "10")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, 1], r"has a list as label, \[0, 1\]; a label is one text or one number"),
        ([1.0, 0.0], "has a list as label"),
        ({"name": "x"}, "has a dictionary as label"),
        (None, "has no label"),
        ("  ", "has no label"),
        (float("nan"), "has no label"),
        (float("inf"), "has the label inf, which is neither a class nor a number to learn"),
    ],
)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_what_is_no_label(tmp_path: Path, label: Any, message: str, ending: str) -> None:
    kind = type(label) if isinstance(label, list | dict | str) else float
    others = {list: [[1, 0]], dict: [{"name": "y"}], str: ["a", "b"], float: [1.0, 0.0]}[kind]
    path = write(tmp_path / f"train{ending}", [label, *others * 20] if kind in (list, dict) else [*others, label])
    number = 1 if kind in (list, dict) else len(others) + 1
    with pytest.raises(SlatError, match=rf"task\.train: {path} row {number} {message}"):
        load(path)


@pytest.mark.parametrize("label", [None, "nan", "inf", "1_000", "much", [1.0], True, "1,5", ""])
def test_what_is_no_number(tmp_path: Path, label: Any) -> None:
    path = write(tmp_path / "train.jsonl", [0.5, 1, "2.5", label])
    with pytest.raises(SlatError, match=r"row 4 has (no label|the label .*, which is no number)"):
        load(path, metric="pearson")


def test_integer_scores_and_then_fractions(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", [*range(10_050), 1.5])
    task = load(path, metric="pearson")
    assert 1.5 in {e.label for split in SPLITS for e in task.splits[split]}


def test_numbers_from_one_are_told_by_the_last(tmp_path: Path) -> None:
    names = ["bad", "fair", "good"]
    task = load(write(tmp_path / "train.csv", [1, 2, 3] * 20), label_names=names)
    assert Counter(names_of(task).values()) == dict.fromkeys(names, 20)
    assert names_of(task)["train 0"] == "bad"
    assert task.notes == ("labels 1 to 3 count from 1: 1 is bad, 3 is good",)
    zero = load(write(tmp_path / "zero.csv", [0, 2] * 20), label_names=names)
    assert (names_of(zero)["zero 0"], names_of(zero)["zero 1"]) == ("bad", "good")
    with pytest.raises(
        SlatError, match="labels 1, 2 count from 0 or from 1 cannot be told, as neither 0 nor 3 is there"
    ):
        load(write(tmp_path / "open.csv", [1, 2] * 20), label_names=names)
    with pytest.raises(SlatError, match=r"row 4 has the label '3', which is not among the 3 names: bad, fair, good"):
        load(write(tmp_path / "both.csv", [0, 1, 2, 3] * 20), label_names=names)


def test_the_last_class_may_stand_in_another_file(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [1, 2] * 20)
    write(tmp_path / "test.jsonl", [1, 2, 3] * 20)
    with pytest.raises(SlatError, match="test has labels that training text has not: 'good'"):
        load(tmp_path, label_names=["bad", "fair", "good"])


def test_a_dataset_that_knows_its_names_counts_from_zero(tmp_path: Path) -> None:
    """Also where no row has the first or the last of them."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b", "c", "d"])}
    )
    rows = {"text": [f"text {i}" for i in range(40)], "label": [1 + i % 2 for i in range(40)]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    task = load(tmp_path / "train.parquet")
    assert task.labels == ("a", "b", "c", "d")
    assert {names_of(task)[f"text {i}"] for i in range(0, 40, 2)} == {"b"}
    (tmp_path / "test.csv").write_text("text,label\n" + "".join(f"test {i},{'cb'[i % 2]}\n" for i in range(10)))
    both = load(tmp_path / "train.parquet", test=tmp_path / "test.csv")
    assert names_of(both)["test 0"] == "c"
    renamed = load(tmp_path / "train.parquet", label_names=["w", "x", "y", "z"])
    assert names_of(renamed)["text 0"] == "x"


def test_labels_that_differ_in_case_are_told(tmp_path: Path) -> None:
    task = load(write(tmp_path / "train.csv", ["spam", "Spam", "ham"] * 20))
    assert task.notes == ("labels 'Spam' and 'spam' differ in case or inner space alone, and are 2 classes",)


FRAUD = ["fraud" if i % 10 == 0 else "legit" for i in range(200)]


@pytest.mark.parametrize(
    ("labels", "options", "positive"),
    [
        (FRAUD, {}, "fraud"),
        (FRAUD, {"positive": "legit"}, "legit"),
        (FRAUD, {"label_names": ["legit", "fraud"]}, "fraud"),
        (FRAUD, {"label_names": ["fraud", "legit"], "positive": "fraud"}, "fraud"),
        (["0", "1", "1"] * 20, {}, "1"),
        ([1, 2, 2] * 20, {}, "2"),
        ([True, True, False] * 20, {}, "True"),
        (["yes", "yes", "no"] * 20, {}, "yes"),
        ([0, 1, 1] * 20, {"positive": 0}, "0"),
    ],
)
def test_f1_is_that_of_the_positive_class(
    tmp_path: Path, labels: list[Any], options: dict[str, Any], positive: str
) -> None:
    path = write(tmp_path / "train.csv", labels)
    task = load(path, metric="f1", **options)
    assert task.labels[1] == positive
    assert all(name == str(labels[int(text.split()[1])]) for text, name in names_of(task).items())
    truth = np.array([e.label for e in task.splits["test"]])
    never, always = np.zeros_like(truth), np.ones_like(truth)
    share = np.mean([task.labels[k] == positive for k in truth])
    assert quality("f1", truth, never) == 0
    assert quality("f1", truth, always) == pytest.approx(2 * share / (1 + share))
    told = description(Task.model_validate({"name": "mine", "train": path, "metric": "f1", **options}), seed=0)
    assert f"f1 of {positive!r}" in told.splitlines()[0]


def test_the_positive_class_of_an_embedded_task() -> None:
    task = load_task(Task(name="bbc-match", metric="f1", positive="no"), seed=0)
    assert task.labels == ("yes", "no")
    default = load_task(Task(name="bbc-match", metric="f1"), seed=0)
    assert default.labels == ("no", "yes")
    assert [1 - e.label for e in task.splits["test"]] == [e.label for e in default.splits["test"]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "f1", "positive": "theft"}, "task.positive: 'theft' is no label of mine; it has fraud, legit"),
        ({"metric": "f1", "label_names": ["a", "fraud", "legit"]}, "f1 is of two classes and mine has 3; use macro_f1"),
    ],
)
def test_a_positive_class_that_is_none(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SlatError, match=message):
        load(write(tmp_path / "train.csv", FRAUD), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "label_names: [no, yes]",
            "task.label_names: YAML reads no, yes, null, 1.0 and dates as other than text; write",
        ),
        ("label_names: [off, 'on']", "task.label_names: YAML reads no, yes,"),
        ("label_names: [2020-01-01, b]", "task.label_names: YAML reads no, yes,"),
        ("label_names: [null, b]", "task.label_names: YAML reads no, yes,"),
        ("{positive: yes, metric: f1}", "task.positive: YAML reads no, yes,"),
        ("label_names: [a, b, 'a ']", "task: label_names has 'a' twice"),
        ("positive: a", "task: positive names the label that f1 is measured of; the metric is accuracy"),
        ("{positive: c, metric: f1, label_names: [a, b]}", "task: positive 'c' is not among label_names: a, b"),
    ],
)
def test_labels_in_yaml(tmp_path: Path, fields: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"task: {fields if fields.startswith('{') else '{' + fields + '}'}")
    with pytest.raises(SlatError, match=message):
        load_config(path)


def test_labels_that_yaml_reads_as_integers() -> None:
    assert Task.model_validate({"label_names": [0, 1]}).label_names == ("0", "1")
    with pytest.raises(ValidationError):
        Task.model_validate({"label_names": "positive"})
