"""What an adapter or a configuration may ask of peft and of us ends, or is one sentence."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import peft
import pytest
from transformers import PreTrainedModel

from slat_search import SlatError, load_adapter
from slat_search.baselines import apply_method
from slat_search.baselines.limits import check_options
from slat_search.models.backbone import load_backbone
from slat_search.models.registry import model_path
from slat_search.run_folder import RunFolder
from slat_search.tasks import load_task
from slat_search.tasks.rows import read_rows
from tests.conftest import small_config

QV = {"size": 2, "roles": ["q", "v"], "seed": 0}
HOSTILE = (
    "(a+)+$",
    "((.*)*)*x",
    "(a|a)*b",
    "(?:(?:a?){30}){30}",
    ".*.*.*.*.*x",
    "([a-z]+\\.)*$",
    "(.)\\1+",
    "x)|((a+)+",  # whole only between what peft puts around it
    "(?=(a+)+)x",
    "a" * 5000,
)
FIELDS = ("target_modules", "layers_pattern", "exclude_modules", "modules_to_save", "rank_pattern", "alpha_pattern")


def test_a_pattern_that_could_match_for_ever_is_one_sentence(backbone: PreTrainedModel) -> None:
    for pattern in HOSTILE:
        for field in FIELDS:
            by_name = field in ("rank_pattern", "alpha_pattern")
            for value in ({pattern: 2},) if by_name else (pattern, [pattern]):
                with pytest.raises(SlatError, match=rf"baselines\.peft[^:]*{field}[^:]*: "):
                    check_options("lora", backbone, {**QV, "peft": {field: value}})
    with pytest.raises(SlatError, match="could be matched for ever"):
        apply_method("lora", backbone, {**QV, "peft": {"target_modules": HOSTILE[0]}})


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {**QV, "size": 10**9}),
        ("houlsby", {"size": 10**6}),
        ("random", {"budget": 10**9, "kinds": {"lora": 2}, "seed": 0}),
        ("random", {"budget": 1000, "kinds": {"lora": 2**23}, "seed": 0}),
        ("uniform", {"budget": 10**15}),
        ("entries", {"budget": 10**12, "size": 2, "seed": 0}),
        ("unilora", {**QV, "size": 10**12}),
        ("lora", {**QV, "peft": {"init_lora_weights": "pissa_niter_100000"}}),
        ("lora", {**QV, "peft": {"init_lora_weights": "loftq", "loftq_config": {"loftq_iter": 10**6}}}),
        ("lora", {**QV, "peft": {"r": 10**9}}),
        ("lora", {**QV, "peft": {"rank_pattern": {"query": 10**9}}}),
        ("lora", {**QV, "peft": {"lora_alpha": float("nan")}}),
        ("adalora", {**QV, "peft": {"init_r": 10**9}}),
        ("prefix", {"size": 10**9}),
        ("prefix", {"size": -1}),
        ("lora", {**QV, "size": 0}),
        ("lora", {**QV, "size": 1.5}),
    ],
)
def test_sizes_beyond_reason_are_one_sentence(method: str, options: dict[str, Any], backbone: PreTrainedModel) -> None:
    began = time.monotonic()
    with pytest.raises(SlatError, match=r"beyond what this model can use|iterations|units to draw from|units"):
        apply_method(method, backbone, options)
    assert time.monotonic() - began < 60  # and no matter of luck: they would take days


@pytest.mark.parametrize(
    "pattern",
    [
        r".*\.(query|value)$",
        r".*layer\.[0-9]+\.attention\.self\.(query|value)",
        r"(?:encoder\.)?layer\.\d+\.output\.dense",
        "query",
    ],
)
def test_patterns_that_people_write_are_taken(pattern: str, backbone: PreTrainedModel) -> None:
    apply_method(
        "lora", backbone, {**QV, "peft": {"target_modules": f".*{pattern}" if "(" not in pattern else pattern}}
    ).undo()


@pytest.mark.parametrize("pattern", [".*seed", ".*key", "total_step", ".theta_d_length", ".*"])
def test_no_name_of_a_module_lifts_the_limit_of_its_rank(backbone: PreTrainedModel, pattern: str) -> None:
    with pytest.raises(SlatError, match=r"baselines\.peft\.rank_pattern.*: 10000000 is beyond what this model can use"):
        check_options("lora", backbone, {**QV, "peft": {"rank_pattern": {pattern: 10**7}}})


def test_fields_of_peft_that_are_no_mapping_are_refused(backbone: PreTrainedModel) -> None:
    with pytest.raises(SlatError, match=r"baselines\.peft: 1000000000 is beyond what this model can use"):
        check_options("lora", backbone, {**QV, "peft": 10**9})


def test_options_that_people_write_are_taken(backbone: PreTrainedModel) -> None:
    for method, options in (
        (
            "lora",
            {**QV, "size": 384, "peft": {"init_lora_weights": "pissa_niter_4", "lora_alpha": 64, "lora_dropout": 0.1}},
        ),
        ("vera", {**QV, "size": 256, "peft": {"projection_prng_key": 2**31 - 1}}),
        ("unilora", {**QV, "size": 4096}),
        ("adalora", {**QV, "peft": {"tinit": 10_000, "tfinal": 20_000}}),
    ):
        apply_method(method, backbone, options).undo()


def test_the_worst_pattern_that_is_taken_ends(backbone: PreTrainedModel) -> None:
    worst = "[a-z.]*[a-z.]*[a-z.]*x"
    check_options("lora", backbone, {"peft": {"target_modules": worst}})
    with pytest.raises(SlatError, match="peft says"):  # no module of that name
        apply_method("lora", backbone, {**QV, "peft": {"target_modules": worst}})
    assert peft.LoraConfig(target_modules=worst).target_modules == worst


@pytest.fixture
def model(tmp_path: Path) -> Path:
    place = tmp_path / "model"
    place.mkdir()
    for file in Path(model_path("minilm")).iterdir():
        if file.is_file():
            (place / file.name).symlink_to(file)
    return place


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "vocab.txt", "more/a.json"])
def test_a_pipe_among_the_files_of_a_model_is_never_waited_for(name: str, model: Path) -> None:
    (model / name).unlink(missing_ok=True)
    (model / name).parent.mkdir(exist_ok=True)
    os.mkfifo(model / name)
    with pytest.raises(SlatError, match="is no regular file, but a pipe"):
        load_backbone(str(model))


def test_a_pipe_in_the_place_of_data_is_never_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    os.mkfifo(folder / "train.csv")
    with pytest.raises(SlatError, match="is no regular file"):
        read_rows(folder / "train.csv", "--file")
    with pytest.raises(SlatError, match="is no regular file"):
        load_task(small_config(task={"name": "mine", "train": str(folder / "train.csv")}).task, 0)
    with pytest.raises(SlatError, match="is no regular file"):
        load_task(small_config(task={"name": "mine", "hub": str(folder)}).task, 0)
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    (saved / "train").mkdir()
    os.mkfifo(saved / "train" / "state.json")
    with pytest.raises(SlatError, match="is no regular file"):
        load_task(small_config(task={"name": "mine", "train": str(saved)}).task, 0)


def test_a_pipe_in_a_run_folder_is_never_waited_for(tmp_path: Path, backbone: PreTrainedModel) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(SlatError, match=r"\.lock: is no regular file"), RunFolder(tmp_path).lock():
        pass
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(SlatError, match=r"a\.safetensors: is no regular file"):
        load_adapter(backbone, tmp_path / "a.safetensors")
