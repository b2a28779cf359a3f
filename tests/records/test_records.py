"""Records in files: what is written is read again, also what today's readers find of earlier versions; damage is one
sentence with the file's name."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from slat_search.analysis.robustness import Predictions
from slat_search.errors import SlatError
from slat_search.files import check_signature, read_json
from slat_search.records import (
    Created,
    Decision,
    EarlierTrials,
    Ended,
    Environment,
    Failed,
    FileRecord,
    KeptConfig,
    Measures,
    Mistakes,
    PerturbedQuality,
    Recommended,
    Report,
    Reported,
    Selection,
    StudyPoints,
    TaskTest,
    Tested,
    Trained,
    TrainingJob,
    Tuning,
    read_events,
    read_training,
)
from slat_search.run_folder import RunFolder
from slat_search.structure import SharedStructure, Site, Structure

MEASURES: dict[str, Any] = {"quality": 0.8, "quality_perturbed": 0.6, "retained": 0.75, "loss": 0.5}
SEVERAL = {**MEASURES, "quality_worst": 0.7, "tasks": {"one": MEASURES, "two": {**MEASURES, "quality": 0.7}}}
REPORT = {**MEASURES, "step": 3, "params": 9, "atoms": 2, "seconds": 1.5}
JOB = TrainingJob("lora", "lora-2", 0.01, 1, options={"size": 2, "roles": ["q", "v"]})
TRAINED = Trained(
    job=JOB, validation=Measures(**SEVERAL), params=9, bytes=36, steps=10, seconds=2.0, step_seconds=0.2, memory=5
)
TEST = TaskTest(quality=0.8, perturbed=(PerturbedQuality(kind="typos", ratio=0.2, quality=0.6),), seconds_per_text=0.01)
TASK = {"name": "one", "labels": ["a", "b"], "majority": 0.5, "train": 9, "validation": 5, "test": 5}
MODEL = {"name": "tiny", "params": 1000, "head_params": 18, "layers": 2, "site_columns": ["q"]}
FINAL = {"key": "k", "label": "lora", "name": "LoRA", "structure": "", "group": "LoRA", "budget": None}
TUNING = {"LoRA": {"tried": {"0.01": 0.8, "0.1": None}, "chosen": "0.01"}}
SCORES = {"label": "no", "texts": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
WRONG = {"texts": ["a", "b"], "label": "no", "predicted": "yes", "confidence": 0.9}
MISTAKES = {
    "seed": 1,
    "tested": 4,
    "wrong": 2,
    "total": 2,
    "classes": [SCORES, {**SCORES, "label": "yes"}],
    "confusion": [[1, 1], [1, 1]],
    "texts": [WRONG],
}
FILES: dict[str, tuple[type[FileRecord], FileRecord]] = {
    "train.json": (Trained, TRAINED),
    "test.json": (Tested, Tested(quality=0.8, tasks={"one": TEST, "two": TEST})),
    "environment.json": (Environment, Environment.model_validate({"tasks": [TASK], "model": MODEL})),
    "selection.json": (Selection, Selection.model_validate({"finals": [FINAL], "tuning": TUNING})),
    "points.json": (StudyPoints, StudyPoints(points=(), reference=(), tuning={"LoRA": Tuning(**TUNING["LoRA"])})),
    "mistakes.json": (Mistakes, Mistakes.model_validate({"method": "lora-8", "tasks": {"one": MISTAKES}})),
    "best.json": (Recommended, Recommended(adapter="a", found=None, notes={"a": "b"})),
    "earlier.json": (
        EarlierTrials,
        EarlierTrials.model_validate({"trials": [{"sampled": {"kinds": "all"}, "measures": REPORT}]}),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    kind, record = FILES[name]
    record.write(tmp_path / name)
    assert kind.read(tmp_path / name) == record
    assert json.loads((tmp_path / name).read_text())["version"] == kind.VERSION


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda raw: {**raw, "version": 99}, r"is of version 99; this library reads versions up to \d"),
        (lambda raw: {**raw, "version": "new"}, "is of version 'new'"),
        (lambda raw: {**raw, "extra": 1}, r"damaged \(extra: "),
        (lambda raw: {"version": raw["version"]}, r"\(\w+ is missing\)"),
        (lambda raw: [1], "damaged"),
        (lambda raw: "{", "damaged"),
    ],
)
def test_a_damaged_file_is_one_sentence_with_its_name(name: str, edit: Any, message: str, tmp_path: Path) -> None:
    kind, record = FILES[name]
    path = tmp_path / name
    record.write(path)
    edited = edit(check_signature(read_json(path), path))
    path.write_text(edited if isinstance(edited, str) else json.dumps(edited))
    with pytest.raises(SlatError, match=message) as caught:
        kind.read(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(SlatError, match="no such file"):
        kind.read(path)


def test_a_training_that_diverged_is_told_from_one_that_ended_well(tmp_path: Path) -> None:
    TRAINED.write(tmp_path / "a.json")
    Failed(job=JOB, error="the loss was not finite").write(tmp_path / "b.json")
    trained, failed = (read_training(tmp_path / f"{name}.json") for name in "ab")
    assert isinstance(trained, Trained)
    assert isinstance(failed, Failed)
    assert trained.job == failed.job == JOB
    assert trained.job.key == "lora-2_lr0.01_seed1"
    assert trained.validation.of("two").quality == 0.7
    assert Measures(**MEASURES).of("whatever") == Measures(**MEASURES)


def test_a_test_of_the_first_version_has_one_task_and_arrays_without_a_number(tmp_path: Path) -> None:
    path = tmp_path / "k.test.json"
    path.write_text(json.dumps(TEST.model_dump()))
    old = Tested.read(path)
    assert (old.quality, old.by_number) == (0.8, [TEST])
    assert TEST.sets == (("clean", 0.0), ("typos", 0.2))
    arrays = {"labels": np.arange(2), "outputs": np.ones((2, 2), int), "confidence": np.ones((2, 2), np.float32)}
    save_file(arrays, tmp_path / "old")
    save_file({f"{task}.{name}": a + task for name, a in arrays.items() for task in (0, 1)}, tmp_path / "new")
    one, same, two = (
        Predictions.read(tmp_path / name, TEST.sets, task) for name, task in (("old", 0), ("new", 0), ("new", 1))
    )
    assert one.labels.tolist() == same.labels.tolist() == [0, 1]
    assert two.labels.tolist() == [1, 2]
    (tmp_path / "new").write_bytes(b"x")
    with pytest.raises(SlatError, match="new: damaged"):
        Predictions.read(tmp_path / "new", TEST.sets)


def test_tasks_alone_of_the_first_version_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    structure = Structure.lora((Site(0, "encoder.layer.0.q", "q", 8, 8),), r=2)
    alone = {
        "key": "s",
        "task": "one",
        "label": "alone-slat-a",
        "name": "SLAT, each task alone",
        "tuned_as": "SLAT, one",
    }
    files = {
        "selection": {"finals": [FINAL], "tuning": TUNING},
        "alone": {"finals": [{**alone, "structure": structure.to_dict()}], "tuning": {"SLAT, one": TUNING["LoRA"]}},
    }
    for name, raw in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(raw))
    selection = Selection.of(run)
    assert [final.structure for final in selection.finals] == ["", structure.digest]
    assert [final.unit_label for final in selection.finals] == ["lora", "slat-a"]
    assert [final.files_in(run) for final in selection.finals] == [run / "units", run / "units" / "alone" / "one"]
    assert list(selection.tuning) == ["LoRA", "SLAT, one"]
    selection.write(run / "selection.json")  # from now on the other file counts no more
    (run / "alone.json").write_text("{")
    assert Selection.of(run) == selection


def test_an_environment_of_the_first_version_has_one_task(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    path.write_text(json.dumps({"task": TASK, "model": MODEL}))
    assert Environment.read(path) == FILES["environment.json"][1]


def test_a_list_of_earlier_trials_is_the_first_version(tmp_path: Path) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps([{"sampled": {"kinds": "all"}, "measures": REPORT}]))
    assert EarlierTrials.read(path) == FILES["earlier.json"][1]


def test_the_trial_log_is_read_with_lines_of_the_first_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    shared = SharedStructure.everything(("one", "two"), Structure())
    events = [
        Created(number=0, sampled={"kinds": "all", "sparsity": 0.1}, attributes={}),
        Reported(number=0, report=Report(**REPORT, **{"tasks": SEVERAL["tasks"]}), structure=shared.packed()),
        Ended(number=0, status="completed", error=""),
    ]
    first = {"event": "created", "number": 0, "sampled": {"kinds": "all", "sparsity": 0.1}, "attributes": {}}
    path.write_text(json.dumps(first) + "\n")
    for event in events[1:]:
        event.append(path)
    assert list(read_events(path)) == events
    with path.open("a") as file:
        file.write('{"event": "over", "number": 0')  # torn by a kill
    assert list(read_events(path)) == events
    for broken in ('{"event": "forgotten"}', '{"event": "over"}', "7"):
        path.write_text(json.dumps(first) + "\n" + broken + "\n")
        with pytest.raises(SlatError, match=r"ledger\.jsonl, line 2: damaged"):
            list(read_events(path))


def test_a_report_is_a_row_of_the_columns_that_it_has() -> None:
    row = Report(**REPORT, quality_worst=0.7, tasks=SEVERAL["tasks"]).row()
    assert list(row) == [
        *("step", "quality", "quality_perturbed", "retained", "loss", "params", "atoms", "seconds", "quality_worst"),
        *("quality: one", "quality: two"),
    ]
    assert "quality_worst" not in Report(**REPORT).row()


def test_decisions_at_rungs_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "rungs.jsonl"
    decision = Decision(trial="trial-0000", step=3, values=[0.5, -10.0], decision="STOP")
    path.write_text(json.dumps(decision.model_dump()) + "\n")  # of the first version
    decision.append(path)
    assert list(Decision.read_lines(path)) == [decision, decision]


def test_a_kept_configuration_has_its_tasks_in_one_place(tmp_path: Path) -> None:
    run, path = RunFolder(tmp_path), tmp_path / "config.yaml"
    one = "{name: x, seed: 0, seeds: 1, training: {steps: 5}, task: {name: one, metric: f1, train: a.csv}}"
    path.write_text(one)
    config = KeptConfig.of(run)
    assert [task.name for task in config.tasks] == ["one"]
    assert (config.metric, config.tolerance, config.own_weights) == ("f1", 0.0, False)
    tasks = "[{name: one, metric: f1}, {name: two, metric: f1}]"
    path.write_text(f"{one[:-1]}, tasks: {tasks}, search: {{weights: [own]}}}}")
    config = KeptConfig.of(run)
    assert (config.metric, config.own_weights) == ("quality, mean of 2 tasks", True)
    bomb = "a: &a [1, 1, 1, 1]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in pairwise("abcdefghijk"))
    long = f"# {'x' * 2**19}\n{one}"
    for damaged in ("[", "7", "{name: x}", one.replace("steps: 5", "steps: many"), bomb):
        path.write_text(damaged)
        with pytest.raises(SlatError, match=r"config\.yaml: damaged"):
            KeptConfig.of(run)
    path.write_text(long)
    with pytest.raises(SlatError, match=r"config\.yaml: has 524,\d+ bytes; such a file has at most 524,288"):
        KeptConfig.of(run)
