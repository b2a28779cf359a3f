"""Fields that are set beside the file, and mistakes that are told all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from slat_search import SlatError
from slat_search.config import Config, load_config
from slat_search.run_folder import RunFolder
from tests.cli.commands import slat


def load(tmp_path: Path, text: str, *settings: str) -> Config:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return load_config(path, settings=settings)


@pytest.mark.parametrize(
    ("text", "setting", "yaml"),
    [
        ("seed: 3", "search.trials=40", "{seed: 3, search: {trials: 40}}"),
        ("search: {trials: 4}", "search.trials=40", "search: {trials: 40}"),
        ("task: bbc-match", "task.max_rows=100", "task: {name: bbc-match, max_rows: 100}"),
        ("seed: 3", "task=bbc-match", "{seed: 3, task: bbc-match}"),
        ("seed: 3", "model.dropout=true", "{seed: 3, model: {dropout: true}}"),
        ("seed: 3", "evaluation.ratios=[0.1, 0.3]", "{seed: 3, evaluation: {ratios: [0.1, 0.3]}}"),
        ("evaluation: {ratios: [0.1, 0.2]}", "evaluation.ratios.1=0.3", "evaluation: {ratios: [0.1, 0.3]}"),
        ("evaluation: {ratios: [0.1, 0.2]}", "evaluation.ratios.2=0.3", "evaluation: {ratios: [0.1, 0.2, 0.3]}"),
        ("baselines: [lora, head]", "baselines.0.size=4", "baselines: [{method: lora, size: 4}, head]"),
        ("baselines: few", "baselines.0.size=4", "baselines: [{method: lora, size: 4}, houlsby, bitfit, head]"),
        ("seed: 3", "baselines.3.method=full", "{seed: 3, baselines: [lora, houlsby, bitfit, full]}"),
        ("baselines: [lora]", "baselines.1.method=head", "baselines: [lora, head]"),
        (
            "tasks: [bbc-headline, bbc-topic]",
            "tasks.1.max_rows=50",
            "tasks: [bbc-headline, {name: bbc-topic, max_rows: 50}]",
        ),
        ("seed: 3", "search.space.sparsity.low=1", "{seed: 3, search: {space: {sparsity: {low: 1, high: 30}}}}"),
        (
            "space: {kinds: {lora: {size: 8}, bias: {size: 1}}}",
            "space.kinds.lora.size=2",
            "space: {kinds: {lora: {size: 2}, bias: {size: 1}}}",
        ),
        ("seed: 3", "search.initial_points.0.learning_rate=0.001", "{seed: 3, search: {initial_points: "
         "[{learning_rate: 0.001}]}}"),
    ],
)  # fmt: skip
def test_a_setting_is_as_if_it_stood_in_the_file(tmp_path: Path, text: str, setting: str, yaml: str) -> None:
    assert load(tmp_path, text, setting) == load(tmp_path, yaml)


def test_a_kind_that_is_set_leaves_the_other_kinds_of_the_default(tmp_path: Path) -> None:
    usual = Config().space.kinds
    kinds = load(tmp_path, "seed: 3", "space.kinds.lora.size=1").space.kinds
    assert kinds == {**usual, "lora": usual["lora"].model_copy(update={"size": 1})}


def test_of_two_settings_of_a_field_the_last_counts(tmp_path: Path) -> None:
    assert load(tmp_path, "seed: 3", "seed=4", "seed=5").seed == 5


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("search.trails=40", "--set search.trails=40: unknown field search.trails; did you mean trials?"),
        ("search.trials=many", "--set search.trials=many: search.trials: should be a whole number (got 'many')"),
        ("search.trials", "--set search.trials: should be KEY=VALUE, such as search.trials=40"),
        ("search..trials=3", "--set search..trials=3: should be KEY=VALUE"),
        ("seed.low=3", "--set seed.low=3: seed is 3 and has no fields of its own"),
        ("evaluation.ratios.7=0.1", "evaluation.ratios has 4 entries; 7 is none of them, and 4 adds one"),
        ("evaluation.ratios=[0.1", "--set evaluation.ratios=[0.1: not valid YAML at line 1"),
        ("baselines.0.rank=4", "--set baselines.0.rank=4: unknown field baselines.0.rank"),
        ("search.space.sparsity.low=50", "search.space.sparsity: low must not be above high"),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(SlatError) as caught:
        load(tmp_path, "seed: 3", setting)
    assert message in str(caught.value)
    assert "mine.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_of_every_sort_are_told_at_once(tmp_path: Path) -> None:
    """Fields that stand there twice, wrong ones in file and settings, and settings that cannot be read."""
    text = "training: {steps: 0, steps: 0}\nmodel: {pooling: sum}\ntask: {positive: x, label_names: [a, a]}\n"
    with pytest.raises(SlatError) as caught:
        load(tmp_path, text, "search.trials=0", "seeds", "gates.kind=soft")
    first, *lines = str(caught.value).splitlines()
    assert first.endswith("mine.yaml: 9 mistakes")
    for part in (
        "steps stands there twice",
        "--set seeds: should be KEY=VALUE",
        "training.steps: should be greater",
        "model.pooling: should be",
        "task: label_names has 'a' twice",
        "task: positive names the label",
        "--set search.trials=0: search.trials: should be greater",
        "--set gates.kind=soft: gates.kind: unknown kind",
    ):
        assert sum(part in line for line in lines) == 1, part


def test_fields_that_do_not_fit_together_are_told_at_once(tmp_path: Path) -> None:
    text = "tasks: [bbc-headline, bbc-headline]\nsearch: {method: static}\nmultitask: {alone: [houlsby, nothing]}"
    with pytest.raises(SlatError, match="3 mistakes") as caught:
        load(tmp_path, text)
    assert "tasks: two or more with different names" in str(caught.value)
    assert "search.method: a static search" in str(caught.value)
    assert "multitask.alone: nothing is neither" in str(caught.value)


def test_settings_of_a_command_are_in_the_resolved_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Config] = []

    def work(config: Config, **options: object) -> RunFolder:
        begun.append(config)
        (tmp_path / "done.json").write_text("{}")
        (tmp_path / "comparison.md").write_text("done")
        return RunFolder(tmp_path)

    monkeypatch.setattr("slat_search.pipeline.run", work)
    monkeypatch.setattr("slat_search.sensitivity.run", work)
    config = tmp_path / "mine.yaml"
    config.write_text("seed: 3")
    for command in ("run", "search", "baselines", "sensitivity"):
        done = slat(command, config, "--set", "training.steps=7", "--set", "seeds=1")
        assert done.exit_code == 0, done.output
    assert [(c.training.steps, c.seeds, c.seed) for c in begun] == [(7, 1, 3)] * 4


def test_tasks_takes_settings_for_a_file_alone(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("task: {name: bbc-headline, max_rows: 30}")
    assert slat("tasks", config, "--set", "task=bbc-match").stdout.startswith("bbc-match: 2 classes")
    refused = slat("tasks", "bbc-match", "--set", "task.max_rows=30")
    assert (refused.exit_code, refused.stderr) == (
        2,
        "error: --set: sets fields of a configuration; give its YAML file\n",
    )
