"""What becomes of the rows that were given: splits by name, repeats, cuts and draws."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import datasets
import pytest

from slat_search import SlatError
from slat_search.config import Task
from slat_search.opening import describe
from slat_search.tasks import SPLITS, TaskData, load_task
from slat_search.tasks.describe import description

ROWS = [(f"text number {i}", "ab"[i % 2]) for i in range(60)]


def write(path: Path, rows: list[tuple[str, object]]) -> Path:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    path.write_text(f"text{separator}label\n" + "".join(f"{text}{separator}{label}\n" for text, label in rows))
    return path


def load(train: Path, **options: object) -> TaskData:
    return load_task(Task.model_validate({"name": "mine", "train": train, **options}), seed=0)


def texts(task: TaskData, split: str) -> list[str]:
    return [e.texts[0] for e in task.splits[split]]


HELD = [(f"held out {i}", "ab"[i % 2]) for i in range(10)]


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev", "eval", "Dev", "VALID"])
@pytest.mark.parametrize("ending", [".csv", ".CSV", ".tsv"])
def test_a_folder_with_validation_under_any_name(tmp_path: Path, name: str, ending: str) -> None:
    write(tmp_path / f"Train{ending}", ROWS)
    write(tmp_path / f"{name}{ending}", HELD)
    task = load(tmp_path)
    assert texts(task, "validation") == [text for text, _ in HELD]
    assert len(task.splits["train"]) + len(task.splits["test"]) == len(ROWS)
    assert task.notes == ()


def test_a_folder_with_two_of_them(tmp_path: Path) -> None:
    for name in ("train", "dev", "valid"):
        write(tmp_path / f"{name}.csv", ROWS[:30])
    with pytest.raises(SlatError, match=r"holds both dev\.csv and valid\.csv; name one of them"):
        load(tmp_path)
    task = load(tmp_path, validation=write(tmp_path / "chosen.tsv", HELD))
    assert texts(task, "validation") == [text for text, _ in HELD]


def test_what_lies_there_and_is_not_read_is_told(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "train2.csv", HELD)
    write(tmp_path / "heldout.csv", HELD)
    (tmp_path / "README.md").write_text("words")
    assert load(tmp_path).notes == (f"{tmp_path}: heldout.csv, train2.csv not read",)


def test_a_saved_dataset_with_validation_under_another_name(tmp_path: Path) -> None:
    def part(rows: list[tuple[str, str]]) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"text": [t for t, _ in rows], "label": [y for _, y in rows]})

    datasets.DatasetDict({"train": part(ROWS), "dev": part(HELD)}).save_to_disk(tmp_path / "data[1]")
    assert texts(load(tmp_path / "data[1]"), "validation") == [text for text, _ in HELD]


def test_repeats_are_counted_and_told(tmp_path: Path) -> None:
    """A test file stays as it is; what leaks from it is left out of the rest."""
    test = [*HELD, HELD[0], ("HELD  out 1", "a"), ("text number 7", "b")]
    validation = [(f"valid {i}", "ab"[i % 2]) for i in range(8)] + [("valid 0", "a"), HELD[2]]
    train = [*ROWS, ROWS[0], ROWS[1], (ROWS[3][0].upper(), "a"), ("valid 3", "b"), HELD[4], HELD[5]]
    for name, rows in (("train", train), ("validation", validation), ("test", test)):
        write(tmp_path / f"{name}.csv", rows)
    task = load(tmp_path)
    assert texts(task, "test") == [text for text, _ in test]
    assert texts(task, "validation") == [f"valid {i}" for i in range(8)] + ["valid 0"]
    assert sorted(texts(task, "train")) == sorted(text for i, (text, _) in enumerate(ROWS) if i != 7)
    assert set(task.notes) == {
        "2 rows of test repeat earlier ones and are kept; 1 of them with another label, such as 'HELD out 1'",
        "1 row of validation repeats earlier ones and is kept",
        "1 row of validation repeats texts of test and is left out of validation",
        "3 rows of train repeat texts of test and are left out of train",
        "1 row of train repeats texts of validation and is left out of train",
        "3 rows of train repeat earlier ones and are left out; 1 of them with another label, such as 'TEXT NUMBER 3'",
    }
    assert describe(task).splitlines() == ["task mine: 59 / 9 / 13 texts, 2 classes", *task.notes]
    lines = description(Task(name="mine", train=tmp_path), seed=0).splitlines()
    assert lines[1 : 1 + len(task.notes)] == [*task.notes]


def test_one_file_as_train_and_test(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", ROWS)
    with pytest.raises(SlatError, match="no row of train is left: 60 rows of train repeat texts of test"):
        load(path, test=path)


@pytest.mark.parametrize(("labels", "each"), [(40, 3), (77, 2), (3, 4), (25, 5)])
def test_few_rows_of_many_labels_are_cut(tmp_path: Path, labels: int, each: int) -> None:
    count = labels * each
    task = load(write(tmp_path / "train.csv", [(f"text {i}", f"class {i % labels}") for i in range(count)]))
    sizes = [len(task.splits[split]) for split in SPLITS]
    assert sum(sizes) == count
    assert {e.label for e in task.splits["train"]} == set(range(labels))
    assert abs(sizes[1] - 0.15 * count) <= max(1, 0.1 * count)
    assert abs(sizes[2] - 0.2 * count) <= max(1, 0.15 * count)
    for split in ("validation", "test"):
        assert max(Counter(e.label for e in task.splits[split]).values()) <= max(1, round(0.2 * each))


def test_few_numbers_are_cut(tmp_path: Path) -> None:
    task = load(write(tmp_path / "train.csv", [(f"text {i}", i) for i in range(12)]), metric="pearson")
    assert [len(task.splits[split]) for split in SPLITS] == [8, 2, 2]


def test_a_row_of_a_label_each_cannot_be_cut(tmp_path: Path) -> None:
    with pytest.raises(
        SlatError, match=r"validation split is empty \(20 of train, 0 of validation, 0 of test, 20 labels\)"
    ):
        load(write(tmp_path / "train.csv", [(f"text {i}", f"c{i}") for i in range(20)]))


def test_draws_keep_every_label_and_their_shares(tmp_path: Path) -> None:
    counts = {"common": 900, "usual": 80, "rare": 10, "rarest": 10}
    rows = [(f"{label} {i}", label) for label, count in counts.items() for i in range(count)]
    task = load(write(tmp_path / "train.csv", rows), max_rows=20)
    train = Counter(task.labels[int(e.label)] for e in task.splits["train"])
    assert train == {"common": 17, "usual": 1, "rare": 1, "rarest": 1}
    assert [len(task.splits[split]) for split in SPLITS] == [20, 20, 20]
    other = load_task(Task(name="mine", train=tmp_path / "train.csv", max_rows=20), seed=1)
    assert texts(other, "train") != texts(task, "train")


def test_more_labels_than_rows_to_draw(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", [(f"text {i}", f"class {i % 30}") for i in range(600)])
    with pytest.raises(SlatError, match=r"task\.max_rows: 20 rows cannot hold the 30 labels of mine"):
        load(path, max_rows=20)
    assert {e.label for e in load(path, max_rows=30).splits["train"]} == set(range(30))


def test_draws_of_numbers_span_them(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", [(f"text {i}", i / 10) for i in range(1000)])
    values = sorted(e.label for e in load(path, metric="spearman", max_rows=10).splits["train"])
    assert len(values) == 10
    assert all(abs(value - 10 * tenth - 5) <= 6 for tenth, value in enumerate(values))


def test_many_classes_are_described_one_below_the_other(tmp_path: Path) -> None:
    labels = [f"a class with a long name, of number {i}".replace(",", ";") for i in range(77)]
    path = write(tmp_path / "train.csv", [(f"text {i}", labels[i % 77]) for i in range(77 * 10)])
    lines = description(Task(name="mine", train=path), seed=0).splitlines()
    assert max(map(len, lines)) < 120
    assert sum(line.startswith("a class with a long name") for line in lines) == 77
