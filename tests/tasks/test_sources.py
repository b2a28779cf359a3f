from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from slat_search import SlatError
from slat_search.config import Task
from slat_search.tasks import EMBEDDED, SPLITS, TaskData, load_task
from slat_search.tasks.bbc import TOPICS, articles


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_tasks_have_no_text_in_two_splits(name: str) -> None:
    task = load_task(Task(name=name), seed=0)
    texts = [" ".join(e.texts[0].lower().split()) for split in SPLITS for e in task.splits[split]]
    assert len(texts) == len(set(texts)) > 2000
    assert task.labels == TOPICS


def test_articles_are_all_there() -> None:
    found = articles()
    assert len(found) == 2225
    assert all(a.headline and a.body for a in found)


def test_splits_are_stratified_and_follow_the_seed() -> None:
    one, again, other = (load_task(Task(), seed) for seed in (0, 0, 1))
    assert one == again
    assert one.splits["test"] != other.splits["test"]
    shares = {s: Counter(e.label for e in one.splits[s]) for s in SPLITS}
    for label in range(5):
        per_split = [shares[s][label] / len(one.splits[s]) for s in SPLITS]
        assert max(per_split) - min(per_split) < 0.01
    sizes = [len(one.splits[s]) / sum(len(v) for v in one.splits.values()) for s in SPLITS]
    assert sizes == pytest.approx([0.65, 0.15, 0.2], abs=0.005)


ROWS = [
    (f"headline number {i} about {'football' if i % 2 else 'stocks'}", "sport" if i % 2 else "money") for i in range(40)
]


def write(path: Path, rows: list[tuple[str, str]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in rows))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        path.write_text(f"text{separator}label\n" + "".join(f"{t}{separator}{y}\n" for t, y in rows))
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_own_files_of_every_format(tmp_path: Path, ending: str) -> None:
    if ending == ".parquet":
        import pandas as pd

        path = tmp_path / "train.parquet"
        pd.DataFrame(ROWS, columns=["text", "label"]).to_parquet(path)
    else:
        path = write(tmp_path / f"train{ending}", ROWS)
    task = load_task(Task(name="mine", train=path), seed=0)
    assert task.labels == ("money", "sport")
    assert sum(len(task.splits[s]) for s in SPLITS) == 40
    assert all("football" in e.texts[0] for e in task.splits["test"] if task.labels[e.label] == "sport")


def test_folder_with_its_own_splits_keeps_them_and_drops_leaks(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "test.csv", [(ROWS[0][0].upper(), "money"), ("quite another text", "sport")])
    task = load_task(Task(name="mine", train=tmp_path), seed=0)
    assert [e.texts[0] for e in task.splits["test"]] == [ROWS[0][0].upper(), "quite another text"]
    assert sum(len(task.splits[s]) for s in ("train", "validation")) == 39  # the text that test holds is gone


def test_text_pairs(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("a,b,label\n" + "".join(f"left {i},right {i},{i % 2}\n" for i in range(30)))
    task: TaskData = load_task(Task(name="pairs", train=path, text=("a", "b")), seed=0)
    assert task.splits["train"][0].texts[0].startswith("left")
    assert task.labels == ("0", "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,x\nb,y\n", "split is empty"),
        ("text,label\n" + "".join(f"t{i},x\n" for i in range(30)), "one label only"),
        ("text,label\na,x\n   ,y\n", "row 2 has an empty text or label"),
        ("sentence,label\na,x\n", "has no column 'text'; it has sentence, label"),
        ('text,label\na,x\n"b,y\nc', "cannot read"),
        ("", "cannot read"),
    ],
)
def test_bad_content_is_one_sentence(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(content)
    with pytest.raises(SlatError, match=message) as caught:
        load_task(Task(name="mine", train=path), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "imagenet"}, "unknown task 'imagenet'; embedded tasks are bbc-headline"),
        ({"train": Path("/nowhere/train.csv")}, "no such file: /nowhere/train.csv"),
        ({"train": Path(__file__)}, "must end in .csv"),
        ({"train": Path(__file__).parent}, "holds no train file"),
    ],
)
def test_bad_source_is_one_sentence(fields: dict, message: str) -> None:
    with pytest.raises(SlatError, match=message):
        load_task(Task.model_validate(fields), seed=0)
