"""What a run and an adapter were made from cannot change unseen: real encoder, small files of text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from slat_search import SlatError, load, sensitivity
from slat_search.cli import main
from slat_search.config import Config, Task, load_config
from slat_search.files import read_json, write_json
from slat_search.inference.saved import write_adapter
from slat_search.models.backbone import Backbone
from slat_search.models.registry import model_path
from slat_search.pipeline import run
from slat_search.provenance import changes, environment
from slat_search.records import (
    Environment,
    Measures,
    ModelFacts,
    SavedAdapter,
    TaskFacts,
)
from slat_search.run_folder import RunFolder
from slat_search.tasks import load_task
from slat_search.training.context import Context, prepare
from slat_search.training.digests import MadeFrom, texts_digest, weights_digest
from slat_search.training.jobs import TrainingJob
from tests.export.folders import description_of

Edit = Callable[[Path], None]


def write_rows(path: Path, rows: int) -> None:
    lines = [json.dumps({"text": f"text number {i} of many", "label": "ab"[i % 2]}) + "\n" for i in range(rows)]
    path.write_text("".join(lines))


@pytest.fixture
def begun(tmp_path: Path) -> tuple[Path, Path, RunFolder]:
    """Configuration, training file and folder of a run that was killed before its first training."""
    write_rows(tmp_path / "train.jsonl", 60)
    config = tmp_path / "mine.yaml"
    config.write_text("{name: mine, task: {name: mine, train: train.jsonl}}")
    checked = load_config(config)
    folder = RunFolder(tmp_path / "run")
    folder.begin(checked, environment(*prepare(checked)))
    return config, tmp_path / "train.jsonl", folder


def replaced(path: Path) -> None:
    """One word of one row."""
    path.write_text(path.read_text().replace("number 7 ", "number seven "))


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda path: write_rows(path, 62), r"the \w+ texts of mine \(\d+ then, \d+ now\)"),
        (replaced, r"the \w+ texts of mine \(as many as then\) changed since"),
    ],
)
@pytest.mark.parametrize("done", [False, True])
def test_text_that_was_edited_is_told_when_a_run_is_resumed(
    begun: tuple[Path, Path, RunFolder], edit: Edit, told: str, done: bool
) -> None:
    config, data, folder = begun
    if done:
        write_json(folder / "done.json", {})
    edit(data)
    with pytest.raises(SlatError, match=told) as caught:
        run(config, folder.root, resume=not done)
    assert "\n" not in str(caught.value)
    assert str(folder.root) in str(caught.value)


def test_text_that_was_edited_is_told_when_studies_are_resumed(begun: tuple[Path, Path, RunFolder]) -> None:
    config, data, folder = begun
    studies = RunFolder(folder.root / "sensitivity")
    studies.begin(load_config(config), Environment.read(folder / "environment.json"))
    replaced(data)
    with pytest.raises(SlatError, match=r"sensitivity was made from other data: the \w+ texts of mine"):
        sensitivity.run(config, folder.root, resume=True)


def test_what_did_not_change_passes_and_so_does_a_run_without_digests(
    begun: tuple[Path, Path, RunFolder], caplog: pytest.LogCaptureFixture
) -> None:
    config, data, folder = begun
    write_json(folder / "done.json", {})
    caplog.set_level("INFO", "slat_search")
    data.touch()
    run(config, folder.root)
    kept = read_json(folder / "environment.json")
    del kept["digest"], kept["tasks"][0]["digests"], kept["model"]["digests"]
    write_json(folder / "environment.json", kept)
    replaced(data)
    run(config, folder.root)
    assert caplog.text.count("is done already") == 2


def test_an_earlier_run_of_other_text_is_nothing_to_learn_from(
    begun: tuple[Path, Path, RunFolder], tmp_path: Path
) -> None:
    config, data, _ = begun
    config.write_text("{name: mine, task: {name: mine, train: train.jsonl}, search: {warm_start: [run]}}")
    replaced(data)
    with pytest.raises(SlatError, match=r"search\.warm_start: .* was made from other data.* texts of mine"):
        run(config, tmp_path / "next")
    assert not (tmp_path / "next" / "config.yaml").exists()


def test_a_digest_is_of_words_labels_and_order() -> None:
    task = load_task(Task(name="bbc-headline", max_rows=20), 0)
    rows = task.splits["test"]
    one = texts_digest(task.labels, rows)
    assert one == texts_digest(task.labels, list(rows))
    assert one != texts_digest(task.labels, rows[::-1])
    assert one != texts_digest(task.labels[::-1], rows)
    assert one != texts_digest(task.labels, [replace(rows[0], texts=(rows[0].texts[0] + ".",)), *rows[1:]])


def test_changes_of_several_tasks_are_told_together() -> None:
    def told(train: str, weights: str) -> Environment:
        sizes = {"labels": (), "majority": 0.5, "train": 5, "validation": 4, "test": 3}
        digests = {"train": train, "test": "t"}
        tasks = tuple(TaskFacts(name=name, **sizes, digests=digests) for name in ("one", "two"))
        model = {"name": "m", "params": 9, "head_params": 2, "layers": 1, "site_columns": ()}
        return Environment(tasks=tasks, model=ModelFacts(**model, digests={"weights": weights, "tokenizer": "k"}))

    assert changes(told("a", "w"), told("a", "w")) == []
    assert changes(told("a", "w"), told("b", "v")) == [
        "the train texts of one (as many as then)",
        "the train texts of two (as many as then)",
        "the weights of the model m",
    ]


@pytest.fixture
def adapter(context: Context, minilm: Backbone, tmp_path: Path) -> tuple[Path, Path]:
    """An adapter of a model in a folder of one's own, and that folder."""
    model = tmp_path / "model"
    shutil.copytree(model_path("minilm"), model)
    config = context.config.model.model_copy(update={"name": str(model)})
    own = replace(context, config=context.config.model_copy(update={"model": config}))
    measures = Measures(quality=0.5, quality_perturbed=0.5, retained=1.0, loss=1.0)
    head = {"head.weight": np.eye(5, 384, dtype=np.float32), "head.bias": np.zeros(5, dtype=np.float32)}
    write_adapter(tmp_path / "adapter", own, TrainingJob("head", "head", 0.01, 0), head, measures)
    return tmp_path / "adapter", model


def scale_weights(model: Path) -> None:
    path = model / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in sorted(weights) if name.endswith("query.weight"))
    weights[name] = weights[name] * 1.0001
    save_file(weights, path, {"format": "pt"})


def swap_tokens(model: Path) -> None:
    path = model / "tokenizer.json"
    text = json.loads(path.read_text())
    vocabulary = text["model"]["vocab"]
    vocabulary["win"], vocabulary["film"] = vocabulary["film"], vocabulary["win"]
    path.write_text(json.dumps(text))


@pytest.mark.parametrize(("edit", "what"), [(scale_weights, "weights"), (swap_tokens, "tokenizer")])
def test_an_adapter_refuses_another_model_under_the_same_name(
    adapter: tuple[Path, Path], tmp_path: Path, edit: Edit, what: str
) -> None:
    folder, model = adapter
    assert load(folder)(["Chelsea win away"]).shape == (1, 5)
    edit(model)
    with pytest.raises(SlatError, match=rf"adapter .*: the {what} of the model .*/model have changed since it was"):
        load(folder)
    for command in (["predict", str(folder), "--text", "a"], ["export", str(folder), "--out", str(tmp_path / "out")]):
        out = CliRunner().invoke(main, command)
        assert (out.exit_code, out.stderr.count(f"the {what} of the model")) == (2, 1)
        assert len(out.stderr.splitlines()) == 1
    with description_of(folder) as (description, _):
        del description["digests"]
    assert load(folder)(["Chelsea win away"]).shape == (1, 5)  # of an earlier version


def test_weights_in_half_precision_are_the_same_however_they_were_loaded(minilm: Backbone) -> None:
    half = deepcopy(minilm.model).to(torch.bfloat16)
    assert weights_digest(half, "bfloat16") == weights_digest(minilm.model, "bfloat16")
    assert weights_digest(half, "bfloat16") != weights_digest(minilm.model)


def test_an_adapter_keeps_what_it_was_made_from(context: Context, adapter: tuple[Path, Path]) -> None:
    saved = SavedAdapter.read(adapter[0] / "adapter.json")
    assert MadeFrom(**saved.digests, texts=saved.tasks["bbc-headline"].digests) == context.tasks[0].made_from
    assert set(saved.tasks["bbc-headline"].digests) == {"train", "validation", "test"}
    again = Config.model_validate(context.config.model_dump())
    assert prepare(again)[0].tasks[0].made_from == context.tasks[0].made_from
