from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from slat_search import SlatError
from slat_search.baselines import METHODS
from slat_search.config import (
    Config,
    baselines,
    differences,
    load_config,
    model,
    search,
    supernet,
)
from slat_search.config.mistakes import as_one, section_in, sentences
from slat_search.config.reference import reference
from slat_search.config.section import Section
from slat_search.opening import check_perturbed
from slat_search.search.space import SearchSpace
from slat_search.structure import (
    ACTIVATIONS,
    ModuleOptions,
    SearchOptions,
    Space,
)
from slat_search.tasks import NOISE_KINDS, PERTURBATIONS
from slat_search.training.trial import space

ROOT = Path(__file__).parent.parent


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_config(path)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "---\n"])
def test_an_empty_file_is_no_run(tmp_path: Path, text: str) -> None:
    with pytest.raises(SlatError, match=r"mine\.yaml: is empty; the least is a task"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("file", "name"),
    [("mine.yaml", "mine"), ("my run (2).yaml", "my-run-2"), ("größe.yaml", "gr-e"), ("..yaml", "run")],
)
def test_a_run_is_named_after_its_file(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    path.write_text("task: bbc-headline")
    assert load_config(path) == Config(name=name)


def test_yaml_gives_the_same_configuration_back(tmp_path: Path) -> None:
    config = load_config(ROOT / "experiments" / "quickstart.yaml")
    assert load(tmp_path, config.to_yaml()) == config


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem)
def test_experiments_are_valid(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    check_perturbed(config)


def test_paths_count_from_the_file_and_stay_the_same_from_a_copy(tmp_path: Path) -> None:
    config = load(tmp_path, "task: {name: mine, train: data/train.csv}")
    assert config.task.train == tmp_path / "data" / "train.csv"
    assert load(tmp_path, "task: {name: mine, hub: data}").task.hub == "data"  # no such folder: a name on the hub
    (tmp_path / "data").mkdir()
    assert load(tmp_path, "task: {name: mine, hub: data}").task.hub == str(tmp_path / "data")
    elsewhere = tmp_path / "runs" / "mine"
    elsewhere.mkdir(parents=True)
    assert load(elsewhere, config.to_yaml()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tarining: {steps: 3}", r"unknown field tarining; did you mean training\? allowed here: name, preset, seed"),
        ("training: {step: 3}", r"unknown field training\.step; did you mean steps\? allowed here: steps, batch_size"),
        ("search: {scheduler: {rung: [0.5]}}", r"unknown field search\.scheduler\.rung; did you mean rungs\?"),
        ("search: {space: {sparsity: {low: 1}}}", r"search\.space\.sparsity\.high: is missing"),
        ("baselines: [{method: lora, rank: 3}]", r"unknown field baselines\.0\.rank; .*allowed here: method"),
        ("space: {kinds: {lora: {width: 3}}}", r"unknown field space\.kinds\.lora\.width; .*size, group"),
        (
            "space: {kinds: {lorra: {size: 3}}}",
            r"space\.kinds\.lorra: unknown kind 'lorra'; kinds are spectral, lora, .*; did you mean lora\?",
        ),
        (
            "gates: {kind: softmax}",
            r"gates\.kind: unknown kind 'softmax'; kinds are sigmoid, hard_concrete, saliency, screening",
        ),
        ("training: {steps: 0}", r"training\.steps: should be greater than or equal to 1 \(got 0\)"),
        ("training: {steps: many}", r"training\.steps: should be a whole number \(got 'many'\)"),
        ("search: {scheduler: {rungs: [0.5, 0.2]}}", r"search\.scheduler: rungs must increase"),
        ("gates: {warmup: 0.9}", "gates: warmup must be smaller than settle"),
        ("search: {space: {sparsity: {low: 0, high: 1}}}", r"search\.space\.sparsity: low must be above 0"),
        (
            "search: {space: {noise_ratio: {low: 1, high: 0}}}",
            r"search\.space\.noise_ratio: low must not be above high",
        ),
        ("baselines: [{method: lora}, {method: lora, learning_rates: [1]}]", "baselines: lora-8 stands there twice"),
        ("name: a/b", "name: should begin with a letter or digit"),
        ("name: 2024-01-01", "name: should be text .*YAML reads it as a date, so put it in quotes"),
        (
            "task: {name: x, train: [a, b]}",
            r"task\.train: should be the path of one file or folder \(got \['a', 'b'\]\)",
        ),
        ("task: {name: x, text: {a: b}}", r"task\.text: should be a list \(got \{'a': 'b'\}\)"),
        ("task: {split: [0.5, 0.5]}", r"task\.split: should have more entries; number 3 is missing"),
        ("task: {split: 3}", r"task\.split: should be a list \(got 3\)"),
        ("task: {name: x, train: a.csv, text: [a, b, c]}", r"task: text has 3 columns; one or two go without a prompt"),
        ("baselines: many", "no set or method is called 'many'; sets are few, standard, tiny, all, methods lora"),
        ("baselines: [lora, hulsby]", r"no set or method is called 'hulsby'; did you mean houlsby\?"),
        ("baselines: {method: lora}", "baselines: should be a list"),
        ("training: 5", r"training: should be a section with fields of its own: steps, batch_size, .* \(got 5\)"),
        ("training:", "training: should be a section .*; nothing is given"),
        ("search: {scheduler: asha}", r"search\.scheduler: should be a section with fields of its own: name, "),
        ("gates: {kind: sigmiod}", r"gates\.kind: unknown kind 'sigmiod'; .*; did you mean sigmoid\?"),
        ("evaluation: {kinds: typo}", r"evaluation\.kinds\.0: should be .*; did you mean typos\?"),
        ("multitask: {transfer: maybe}", r"multitask\.transfer: should be true or false"),
        ("1: 2", "a field's name should be text"),
        ("{task: bbc-headline, training: {steps: 3, steps: 4}}", "steps stands there twice, at lines 1 and 1"),
        ("task: bbc-headline\n---\ntask: x", "not valid YAML at line 2: a second document begins there"),
        ("training: {head_learning_rate: .nan}", r"training\.head_learning_rate: should be"),
        ("- 1", "must be a mapping of fields, not a list"),
        ("training: {steps: [}", "not valid YAML at line 1"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SlatError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "seed: -1\ntraining: {steps: many, warmup: 2}\ntasks: [{name: bbc-match, max_rows: 1}, bbc-topic]\nsteps: 3"
    with pytest.raises(SlatError) as caught:
        load(tmp_path, text)
    first, *rest = str(caught.value).splitlines()
    assert first.endswith("mine.yaml: 5 mistakes")
    assert [line.split(": ")[0].strip() for line in rest] == [
        "seed",
        "tasks.0.max_rows",  # and not once more as `task`
        "training.steps",
        "training.warmup",
        "unknown field steps; did you mean seeds? allowed here",
    ]


def test_a_field_that_stands_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    with pytest.raises(SlatError, match=r"mine\.yaml: lora stands there twice, at lines 4 and 6"):
        load(tmp_path, "task: bbc-headline\nspace:\n  kinds:\n    lora: {size: 2}\n    bias: {}\n    lora: {size: 3}\n")
    merged = "search:\n  space:\n    sparsity: &range {low: 1, high: 2}\n    sharing: {<<: *range, low: 0}\n"
    assert load(tmp_path, merged).search.space.sharing.low == 0  # what is merged may be said anew


def test_labels_that_yaml_takes_for_something_else(tmp_path: Path) -> None:
    for names in ("[no, yes]", "[2024-01-01, b]", "[1.0, 2.0]", "[null, b]"):
        with pytest.raises(SlatError, match=r"task\.label_names: YAML reads no, yes.*write labels in quotes"):
            load(tmp_path, f"task: {{name: x, train: a.csv, label_names: {names}}}")


def test_a_value_alone_is_a_list_of_one(tmp_path: Path) -> None:
    text = "{task: {name: x, train: a.csv, text: body}, evaluation: {ratios: 0.1, kinds: case}, baselines: lora}"
    config = load(tmp_path, text)
    assert (config.task.text, config.evaluation.ratios, config.evaluation.kinds) == (("body",), (0.1,), ("case",))
    assert [baseline.method for baseline in config.baselines] == ["lora"]


def test_differences_name_fields_and_both_values() -> None:
    one = Config(seed=3, baselines=["lora"])
    two = Config(training={"steps": 9}, baselines=[{"method": "lora", "size": 2}, "head"])
    assert differences(one, one) == []
    assert differences(one, two, {"seed": True}) == [
        "training.steps (was 150, is 9)",
        "baselines.0.size (was 8, is 2)",
        "baselines.1 (was not there, is head)",
    ]
    several = Config(tasks=["bbc-match", "bbc-topic"])
    assert differences(several, Config(tasks=["bbc-match", "bbc-headline"])) == [
        "tasks.1.name (was bbc-topic, is bbc-headline)",
        "tasks.1.text (was ['article'], is ['headline'])",
    ]


def test_task_and_model_by_their_names(tmp_path: Path) -> None:
    short = load(tmp_path, "{task: mnli, model: FacebookAI/roberta-base}")
    assert short == load(tmp_path, "{task: {name: mnli}, model: {name: FacebookAI/roberta-base}}")
    assert short.task.hub is not None
    (tmp_path / "local").mkdir()
    assert load(tmp_path, "model: local").model.name == str(tmp_path / "local")


def test_missing_file() -> None:
    with pytest.raises(SlatError, match=r"config nowhere\.yaml: no such file"):
        load_config("nowhere.yaml")


def test_a_budget_may_be_a_share_of_the_frozen_model() -> None:
    budget = {"low": 0.01, "high": 1, "unit": "percent"}
    sampled = SearchSpace.of(Config(search={"space": {"budget": budget}}), backbone=20_000_000).distributions
    assert (sampled["budget"].low, sampled["budget"].high, sampled["budget"].log) == (2_000, 200_000, True)
    assert "sparsity" not in sampled


def test_a_rate_of_gates_is_sampled_where_gates_are_trained() -> None:
    assert "gate_learning_rate" in SearchSpace.of(Config(gates={"kind": "sigmoid"}), 1).distributions
    assert "gate_learning_rate" not in SearchSpace.of(Config(gates={"kind": "saliency"}), 1).distributions


@pytest.mark.parametrize(
    ("space", "sets"),
    [
        (("spectral", "lora", "parallel", "serial", "norm", "bias"), ("all", "spectral")),
        (("norm", "spectral"), ("all", "spectral")),
        (("spectral",), ("all",)),
        (("lora", "bias"), ("all",)),
    ],
)
def test_sets_of_kinds_follow_the_space(space: tuple[str, ...], sets: tuple[str, ...]) -> None:
    kinds = {kind: {} for kind in space}
    config = Config(space={"kinds": kinds})
    assert config.kind_sets == sets
    assert SearchSpace.of(config, 1).distributions["kinds"].choices == sets
    assert Config(space={"kinds": kinds}, search={"space": {"kinds": [space[0]]}}).kind_sets == (space[0],)


def test_a_set_with_a_kind_that_the_space_lacks(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("space: {kinds: {lora: {}, bias: {}}}\nsearch: {space: {kinds: [lora, lora+norm]}}")
    with pytest.raises(
        SlatError, match=r"run\.yaml: search\.space\.kinds: 'lora\+norm' is neither all nor some of lora"
    ):
        load_config(path)


def test_a_space_of_nothing_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("space: {kinds: {lora: {size: 0}}}")
    with pytest.raises(SlatError, match=r"run\.yaml: space\.kinds: every kind has size 0"):
        load_config(path)


def test_defaults_are_those_of_the_engine() -> None:
    options = SearchOptions()
    assert SearchOptions(**Config().gates.model_dump(), worth=Config().multitask.worth) == options
    assert set(Config().gates.model_dump()) | {"sharing", "worth"} == set(vars(options))
    assert ModuleOptions(Config().space.activation, Config().space.scale) == ModuleOptions()
    assert space(Config()) == Space()


def test_names_in_the_configuration_are_those_of_the_code() -> None:
    assert set(get_args(supernet.Activation)) == set(ACTIVATIONS)
    assert set(get_args(model.PerturbationKind)) == set(PERTURBATIONS)
    assert set(get_args(search.NoiseKind)) == set(NOISE_KINDS)
    assert {*get_args(baselines.MethodName), "slat"} == set(METHODS)


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "config.md").read_text() == reference(), "run `make docs`"


def all_fields(section: type[Section]) -> list[tuple[str, FieldInfo]]:
    collected = []
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        collected += all_fields(inner) if inner else [(f"{section.__name__}.{name}", field)]
    return collected


@pytest.mark.parametrize(("name", "field"), all_fields(Config))
def test_every_field_says_what_it_is_for(name: str, field: FieldInfo) -> None:
    assert field.description


def test_several_tasks_are_read_written_and_parted() -> None:
    tasks = ["bbc-headline", {"name": "bbc-match", "max_rows": 50}]
    config = Config.model_validate({"tasks": tasks, "training": {"steps": 100}})
    assert config.task == config.tasks[0]
    assert Config.model_validate(yaml.safe_load(config.to_yaml())) == config
    alone = config.of_task(1)
    assert (alone.task.name, alone.tasks, alone.training.steps) == ("bbc-match", (), 50)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": ["bbc-match"]}, "two or more with different names"),
        ({"tasks": ["bbc-match", "bbc-match"]}, "two or more with different names"),
        ({"tasks": ["bbc-match", "bbc-topic"], "task": {"name": "bbc-headline"}}, "give one of them"),
        ({"tasks": ["bbc-match", {"name": "../up", "train": "a.csv"}]}, "cannot name a folder"),
        ({"tasks": ["bbc-match", "bbc-topic"], "search": {"method": "static"}}, "no gates that tasks could share"),
        ({"tasks": ["bbc-match", "bbc-topic"], "multitask": {"alone": ["dora"]}}, "dora is neither slat nor one"),
        ({"search": {"scheduler": {"objectives": ["quality_worst"]}}}, "that of several tasks; there is one"),
    ],
)
def test_several_tasks_that_cannot_be_are_one_sentence(fields: dict, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(fields)
    assert message in as_one(sentences(caught.value))
