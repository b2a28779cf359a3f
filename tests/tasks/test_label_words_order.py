"""Words of labels go to labels by name, in whatever order they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from slat_search import SlatError
from slat_search.config import Config, Task
from slat_search.tasks import load_task
from slat_search.training.context import prepare
from tests.decoders import decoder

WORDS = {"negative": "bad", "positive": "good"}
TEXTS = [(f"review {i} is {'good' if i % 3 else 'bad'}", int(i % 3 > 0)) for i in range(60)]


def named(folder: Path) -> Path:
    """A Parquet file whose labels are numbers with names, as ``datasets`` writes it."""
    names = Features({"sentence": Value("string"), "label": ClassLabel(names=[*WORDS])})
    data = Dataset.from_dict({"sentence": [t for t, _ in TEXTS], "label": [n for _, n in TEXTS]}, features=names)
    data.to_parquet(folder / "train.parquet")
    return folder / "train.parquet"


def numbered(folder: Path) -> Path:
    rows = [json.dumps({"sentence": text, "label": number}) for text, number in TEXTS]
    (folder / "train.jsonl").write_text("\n".join(rows))
    return folder / "train.jsonl"


def task(train: Path, **fields: Any) -> Task:
    response = dict(reversed(WORDS.items()))
    return Task.model_validate(
        {"name": "mine", "train": train, "prompt": "{sentence}", "response": response, "max_length": 32, **fields}
    )


@pytest.mark.parametrize("names", [None, ["positive", "negative"], ["negative", "positive"]])
def test_numbers_with_names_keep_them(tmp_path: Path, names: list[str] | None) -> None:
    data = load_task(task(named(tmp_path), label_names=names), 0)
    for example in data.splits["train"]:
        assert WORDS[data.labels[int(example.label)]] in example.texts[0]


def test_numbers_without_names_want_them(tmp_path: Path) -> None:
    model = str(decoder(tmp_path / "model"))
    config = Config(name="mine", task=task(numbered(tmp_path)), model={"name": model})
    with pytest.raises(SlatError, match=r"no words for the label '0'; .*; task.label_names says which label is which"):
        prepare(config)
    told = task(numbered(tmp_path), label_names=["negative", "positive"])
    context, (data,) = prepare(Config(name="mine", task=told, model={"name": model}))
    for example in data.splits["train"]:
        assert WORDS[data.labels[int(example.label)]] in example.texts[0]
    words = [context.frozen.tokenizer.decode(ids).strip() for ids in context.tasks[0].words]
    assert words == [WORDS[label] for label in data.labels]


def test_a_response_with_no_room_in_the_model_is_refused(tmp_path: Path) -> None:
    """What is generated needs places in the model, too."""
    rows = [json.dumps({"sentence": text, "answer": "good"}) for text, _ in TEXTS]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    answered = task(tmp_path / "train.jsonl", response="answer", max_length=64, max_new_tokens=2000)
    config = Config(name="mine", task=answered, model={"name": str(decoder(tmp_path / "model", "gpt2"))})
    with pytest.raises(SlatError, match=r"task.max_length: 64 tokens and the 2000 of a response .* more than the 1024"):
        prepare(config)


@pytest.mark.parametrize("answer", [["good"], {"text": "good"}])
def test_a_response_that_is_no_text_is_refused(tmp_path: Path, answer: Any) -> None:
    rows = [json.dumps({"sentence": text, "answer": answer}) for text, _ in TEXTS]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    with pytest.raises(SlatError, match=r"row 1 has a (list|dictionary) as response, .*; a response is one text"):
        load_task(task(tmp_path / "train.jsonl", response="answer"), 0)
