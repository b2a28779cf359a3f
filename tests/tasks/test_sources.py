from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import datasets
import pytest

from slat_search import SlatError
from slat_search.config import Task
from slat_search.config.task import EMBEDDED, PRESETS
from slat_search.tasks import SPLITS, TaskData, load_task
from slat_search.tasks.bbc import TOPICS, articles


@pytest.mark.parametrize("name", ["bbc-headline", "bbc-topic"])
def test_topic_tasks_have_no_text_twice(name: str) -> None:
    task = load_task(Task(name=name), seed=0)
    texts = [" ".join(e.texts[0].lower().split()) for split in SPLITS for e in task.splits[split]]
    assert len(texts) == len(set(texts)) > 2000
    assert task.labels == TOPICS


def test_match_pairs_are_balanced_hard_and_in_one_split() -> None:
    task = load_task(Task(name="bbc-match"), seed=0)
    assert task.labels == ("no", "yes")
    own = {(a.headline, a.body) for a in articles()}
    topics = {text: a.topic for a in articles() for text in (a.headline, a.body)}
    for side in (0, 1):
        splits = [{e.texts[side] for e in task.splits[split]} for split in SPLITS]
        assert not splits[0] & splits[1] | splits[0] & splits[2] | splits[1] & splits[2]
    for split in SPLITS:
        rows = task.splits[split]
        assert sum(e.label for e in rows) * 2 == len(rows) > 500
        assert all((e.texts in own) == e.label for e in rows)
        assert all(topics[e.texts[0]] == topics[e.texts[1]] for e in rows)


def test_articles_are_all_there() -> None:
    result = articles()
    assert len(result) == 2225
    assert all(a.headline and a.body for a in result)


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


def named(tmp_path: Path, content: str, **fields: object) -> TaskData:
    (tmp_path / "train.csv").write_text(content)
    return load_task(Task.model_validate({"name": "mine", "train": tmp_path / "train.csv", **fields}), seed=0)


def content(labels: list[object], header: str = "text,label") -> str:
    return header + "\n" + "".join(f"text number {i},{label}\n" for i, label in enumerate(labels))


def test_label_names(tmp_path: Path) -> None:
    names = ("negative", "positive")
    assert named(tmp_path, content([0, 1] * 20), label_names=names).labels == names
    by_name = named(tmp_path, content(["positive", "negative"] * 20), label_names=names)
    assert {e.label for e in by_name.splits["train"] if e.texts[0].endswith("0")} == {1}
    stars = named(tmp_path, content([5, 1, 3] * 20), label_names=("1", "3", "5"))
    assert {e.label for e in stars.splits["train"] if e.texts[0] == "text number 0"} <= {2}
    truth = named(tmp_path, content([True, False] * 20), label_names=("True", "False"))
    assert {e.label for e in truth.splits["train"] if e.texts[0].endswith("2")} == {0}
    with pytest.raises(SlatError, match="row 41 has the label '2', which is not among the 2 names: negative, positive"):
        named(tmp_path, content([*[0, 1] * 20, 2]), label_names=names)
    with pytest.raises(SlatError, match="row 3 has the label 'neutral', which is not among"):
        named(tmp_path, content(["positive", "negative", "neutral", *["positive"] * 20]), label_names=names)


def test_texts_that_look_like_something_else_stay_texts(tmp_path: Path) -> None:
    """NA is a country, 007 an agent and 1e3 a product."""
    rows = "".join(f"{t},{i % 2}\n" for i, t in enumerate(("NA", "007", "1e3", "null", "None", "true") * 1))
    result = named(tmp_path, "text,label\n" + rows + "".join(f"word {i},{i % 2}\n" for i in range(40)))
    texts = {e.texts[0] for split in SPLITS for e in result.splits[split]}
    assert {"NA", "007", "1e3", "null", "None", "true"} <= texts


def test_numbers_are_a_regression(tmp_path: Path) -> None:
    task = named(tmp_path, content([i / 7 for i in range(100)]), metric="spearman")
    assert task.labels == ()
    mean, spread = task.scale
    train = [e.label for e in task.splits["train"]]
    assert mean == pytest.approx(sum(train) / len(train))
    assert spread > 1
    for split in SPLITS:  # cut tenth by tenth, so that every split has small and large numbers
        values = [e.label for e in task.splits[split]]
        assert min(values) < 3
        assert max(values) > 11
    with pytest.raises(SlatError, match=r"holds fractions; for numbers set task\.metric to pearson or spearman"):
        named(tmp_path, content([i / 7 for i in range(100)]))
    with pytest.raises(SlatError, match="row 2 has the label 'much', which is no number"):
        named(tmp_path, content([0.5, "much", 1.5]), metric="pearson")


def test_rows_are_capped_by_a_draw(tmp_path: Path) -> None:
    """A file that is sorted by label would else be one class."""
    task = named(tmp_path, content(["a"] * 100 + ["b"] * 100), max_rows=20)
    assert [len(task.splits[s]) for s in SPLITS] == [20, 20, 20]
    assert all({e.label for e in task.splits[s]} == {0, 1} for s in SPLITS)


def test_folder_that_datasets_saved(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["sad", "glad"])}
    )
    rows = {"text": [f"text {i}" for i in range(60)], "label": [i % 2 for i in range(60)]}
    saved = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": saved, "test": saved.select(range(10))}).save_to_disk(tmp_path / "two")
    saved.save_to_disk(tmp_path / "one")
    two = load_task(Task(name="mine", train=tmp_path / "two"), seed=0)
    assert two.labels == ("sad", "glad")
    assert len(two.splits["test"]) == 10
    assert sum(map(len, two.splits.values())) == 60
    one = load_task(Task(name="mine", train=tmp_path / "one"), seed=0)
    assert sum(map(len, one.splits.values())) == 60
    (tmp_path / "two" / "dataset_dict.json").write_text("{")
    with pytest.raises(SlatError, match="cannot read"):
        load_task(Task(name="mine", train=tmp_path / "two"), seed=0)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A dataset laid out as on the hub: two configurations, hidden test labels."""
    folder = tmp_path / "glue-like"
    for subset in ("one", "two"):
        for split, labels in (("train", [0, 1] * 30), ("validation", [0, 1] * 10), ("test", [-1] * 10)):
            file = folder / subset / f"{split}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("sentence,label\n" + "".join(f"{split} {subset} {i},{y}\n" for i, y in enumerate(labels)))
    configs = "".join(f"- config_name: {s}\n  data_dir: {s}\n" for s in ("one", "two"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return folder


def test_hub_dataset_with_hidden_test_labels(hub: Path) -> None:
    fields = {"name": "mine", "hub": str(hub), "subset": "two", "text": ["sentence"]}
    task = load_task(Task.model_validate(fields), seed=0)
    assert all(e.texts[0].startswith("validation two") for e in task.splits["test"])
    assert len(task.splits["test"]) == 20
    assert all(e.texts[0].startswith("train two") for s in ("train", "validation") for e in task.splits[s])
    named_splits = {"hub_splits": {"train": "validation", "test": "train"}}
    other = load_task(Task.model_validate({**fields, **named_splits}), seed=0)
    assert len(other.splits["test"]) == 60
    part = load_task(Task.model_validate({**fields, "hub_splits": {"test": "validation"}}), seed=0)
    assert len(part.splits["test"]) == 20
    with pytest.raises(SlatError, match=r"hub_splits.test: .* has no split 'dev'; it has train, validation, test"):
        load_task(Task.model_validate({**fields, "hub_splits": {"test": "dev"}}), seed=0)
    with pytest.raises(SlatError, match="task mine: no row of train has a label"):
        load_task(Task.model_validate({**fields, "hub_splits": {"train": "test", "test": "validation"}}), seed=0)
    with pytest.raises(SlatError, match="cannot load"):
        load_task(Task.model_validate({**fields, "subset": "three"}), seed=0)


def test_presets_fill_in_what_is_not_said() -> None:
    task = Task(name="mrpc")
    assert (task.hub, task.subset, task.metric, len(task.text)) == ("nyu-mll/glue", "mrpc", "f1", 2)
    assert Task(name="mrpc", metric="accuracy").metric == "accuracy"
    assert Task(name="mrpc", train=Path("mine.csv")).hub is None
    assert Task.model_validate(task.model_dump(mode="json")) == task
    for name in (*EMBEDDED, *PRESETS):
        Task(name=name)


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    with pytest.raises(
        SlatError, match=r"cannot load aps/super_glue/cb: Name or service .* without a connection there are bbc"
    ):
        load_task(Task(name="cb"), seed=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,x\nb,y\n", "split is empty"),
        ("text,label\n" + "".join(f"t{i},x\n" for i in range(30)), "train split has one label only"),
        ("text,label\na,x\nb,\n", "row 2 has no label"),
        ("text,label\na,x\nb,y,z\n", r"row 2 \(line 3\) has 3 fields, but the header has 2"),
        ("text,label\na,x\n   ,y\n", "row 2 has an empty text"),
        ("sentence,label\na,x\n", "has no column 'text'; it has sentence, label"),
        ('text,label\na,x\n"b,y\nc', "cannot read"),
        ("", "the file is empty"),
        ("text,label\n", "no row follows the header"),
        ("text,label\na,x\nb\u00e9,y\n".encode("latin-1"), "line 3 is not UTF-8"),
    ],
)
def test_bad_content_is_one_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SlatError, match=message) as caught:
        load_task(Task(name="mine", train=path), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b", "label": 0\n', "line 2 is not JSON"),
        ('{"text": "a", "label": 1}\n["b", 0]\n', "line 2 is JSON, but no object"),
        ('{"text": "a", "label": 1}\n{"text": null, "label": 0}\n', "row 2 has an empty text"),
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', "row 2 has no label"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(lines)
    with pytest.raises(SlatError, match=message) as caught:
        load_task(Task(name="mine", train=path), seed=0)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a", "label": 1},\n {"text": "b", "label": 0}\n', "line 3 is not JSON"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": 0\n', "line 2 is not JSON"),
    ],
)
def test_a_json_file_is_a_list_or_has_an_object_a_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "train.json"
    path.write_text(content)
    with pytest.raises(SlatError, match=message):
        load_task(Task(name="mine", train=path), seed=0)


def test_more_classes_in_test_than_in_train(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ROWS)
    write(tmp_path / "test.csv", [("a new text", "money"), ("another one", "weather"), ("a third", "war")])
    with pytest.raises(SlatError, match="test has labels that training text has not: 'war', 'weather'"):
        load_task(Task(name="mine", train=tmp_path), seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "imagenet"}, r"unknown task 'imagenet' \(embedded tasks are bbc-headline"),
        ({"name": "ssst2"}, "unknown task 'ssst2'; did you mean sst2?"),
        ({"train": Path("/nowhere/train.csv")}, "no such file: /nowhere/train.csv"),
        ({"train": Path(__file__)}, "must end in .csv"),
        ({"train": Path(__file__).parent}, "holds no train file"),
    ],
)
def test_bad_source_is_one_sentence(fields: dict, message: str) -> None:
    with pytest.raises(SlatError, match=message):
        load_task(Task.model_validate(fields), seed=0)


def test_a_hub_dataset_of_csv_files_stays_text(tmp_path: Path) -> None:
    """Unless it states the types of its columns; and `datasets` takes the name of its folder as a pattern."""
    folders = [tmp_path / name for name in ("data1", "data[1]", "stated")]
    for folder in folders:
        folder.mkdir()
        for split in ("train", "dev", "test"):
            rows = "".join(f"{'NA' if i == 0 else f'{split} {i}'},{'007' if i % 2 else 'NA'}\n" for i in range(20))
            (folder / f"{split}.csv").write_text("text,label\n" + rows)
    task = load_task(Task(name="mine", hub=str(folders[0])), seed=0)
    assert task.labels == ("007", "NA")
    assert [e.texts[0] for e in task.splits["validation"]][:2] == ["dev 1", "dev 2"]
    assert [e.texts[0] for e in task.splits["test"]][:2] == ["NA", "test 1"]
    with pytest.raises(SlatError, match=r"task.hub: `datasets` takes \[ \? and \* in .* as a pattern; rename it"):
        load_task(Task(name="mine", hub=str(folders[1])), seed=0)
    names = "dtype: {class_label: {names: {'0': 'NA', '1': '007'}}}"
    stated = f"dataset_info:\n  features:\n  - {{name: text, dtype: string}}\n  - {{name: label, {names}}}\n"
    (folders[2] / "README.md").write_text(f"---\n{stated}---\n")
    for split in ("train", "dev", "test"):
        rows = "".join(f"{split} {i},{i % 2}\n" for i in range(20))
        (folders[2] / f"{split}.csv").write_text("text,label\n" + rows)
    assert load_task(Task(name="mine", hub=str(folders[2])), seed=0).labels == ("NA", "007")
