"""A first configuration from data: it says what the data is like, and a run would take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from slat_search.cli import main
from slat_search.config import Config, load_config
from slat_search.config.schema import schema
from slat_search.tasks import load_task
from slat_search.tasks.bbc import TOPICS, articles
from tests.cli.commands import slat

ROOT = Path(__file__).parent.parent.parent


def news(rows: int = 120) -> pd.DataFrame:
    result = articles()[:: len(articles()) // rows]
    table = {"headline": [a.headline for a in result], "body": [a.body[:200] for a in result]}
    return pd.DataFrame({"id": range(len(result)), **table, "topic": [TOPICS[a.topic] for a in result]})


def begun(tmp_path: Path, *arguments: object) -> Config:
    """The configuration that init writes, after its schema and its data were checked."""
    out = tmp_path / "first.yaml"
    done = slat("init", *arguments, "--out", out)
    assert done.exit_code == 0, done.output
    text = out.read_text()
    assert text.startswith("# yaml-language-server: $schema=slat-schema.json\n")
    jsonschema.validate(yaml.safe_load(text), json.loads((tmp_path / "slat-schema.json").read_text()))
    config = load_config(out)
    data = load_task(config.task, config.seed)
    assert all(data.splits.values())
    return config


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_a_file_of_any_kind_is_looked_at(tmp_path: Path, ending: str) -> None:
    data, table = tmp_path / f"news{ending}", news()
    if ending in (".csv", ".tsv"):
        table.to_csv(data, index=False, sep="," if ending == ".csv" else "\t", quoting=0 if ending == ".csv" else 3)
    elif ending == ".parquet":
        table.to_parquet(data)
    else:
        table.to_json(data, orient="records", lines=ending == ".jsonl")
    task = begun(tmp_path, data).task
    assert (task.name, task.train, task.text, task.label) == ("news", data, ("body",), "topic")
    assert task.metric == "accuracy"


def test_comments_say_what_the_data_is_like(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = tmp_path / "data" / "news.csv"
    news().to_csv(data, index=False)
    config = begun(tmp_path, data, "--text", "headline", "--model", "some/encoder", "--task", "topics")
    assert (config.name, config.task.name, config.model.name) == ("topics", "topics", "some/encoder")
    text = (tmp_path / "first.yaml").read_text()
    assert "train: data/news.csv" in text
    assert "also text: body; two columns are read as a pair: [headline, body]" in text
    assert "5 labels: " in text
    assert config.task.max_length == 16
    assert config.training.steps == 100


def test_uneven_labels_and_numbers_have_metrics_that_fit(tmp_path: Path) -> None:
    table = news()
    table["topic"] = ["sports" if topic == "sports" and i % 2 else "other" for i, topic in enumerate(table["topic"])]
    table.to_csv(tmp_path / "rare.csv", index=False)
    task = begun(tmp_path, tmp_path / "rare.csv").task
    assert (task.metric, task.positive) == ("f1", "sports")
    (tmp_path / "first.yaml").unlink()
    table["score"] = [len(headline) / 7 for headline in table["headline"]]
    table.drop(columns="topic").to_csv(tmp_path / "scored.csv", index=False)
    task = begun(tmp_path, tmp_path / "scored.csv").task
    assert (task.metric, task.label) == ("pearson", "score")


def test_files_of_splits_are_taken_together(tmp_path: Path) -> None:
    folder = tmp_path / "reviews"
    folder.mkdir()
    for name, part in (("train", news(90)), ("dev", news(40)), ("test", news(50))):
        part["headline"] += f" {name}"
        part["body"] += f" {name}"
        part.to_csv(folder / f"{name}.csv", index=False)
    of_folder = begun(tmp_path, folder).task
    assert (of_folder.name, of_folder.train) == ("reviews", folder)
    (tmp_path / "first.yaml").unlink()
    of_file = begun(tmp_path, folder / "train.csv").task
    assert (of_file.name, of_file.validation, of_file.test) == ("reviews", folder / "dev.csv", folder / "test.csv")


PAIRS = [(a.headline, a.body[:120]) for a in articles()[::20]]
CHATS = [[{"role": "user", "content": body}, {"role": "assistant", "content": head}] for head, body in PAIRS]
SHAREGPT = [[{"from": "human", "value": body}, {"from": "gpt", "value": head}] for head, body in PAIRS]
ALPACA = [{"instruction": "Write a headline.", "input": body, "output": head} for head, body in PAIRS]


@pytest.mark.parametrize(
    ("table", "arguments", "fields"),
    [
        ({"messages": CHATS}, (), {"chat": "messages", "response": None}),
        ({"id": range(len(CHATS)), "dialogue": map(json.dumps, CHATS)}, (), {"chat": "dialogue"}),
        ({"conversations": SHAREGPT}, (), {"chat": "conversations"}),
        (ALPACA, (), {"prompt": "alpaca", "response": "output", "max_length": 128}),
        (ALPACA, ("--response", "output"), {"prompt": "alpaca"}),
        (
            ALPACA,
            ("--prompt", "{input}\\nHeadline:", "--response", "output"),
            {"prompt": "{input}\nHeadline:", "response": "output", "text": ("input",)},
        ),
        (
            {"question": [body for _, body in PAIRS], "answer": [head for head, _ in PAIRS]},
            (),
            {"prompt": "{question}", "response": "answer", "metric": "token_accuracy"},
        ),
        (
            {"question": [body for _, body in PAIRS], "answer": ["yes", "no"] * (len(PAIRS) // 2)},
            ("--prompt", "{question} Yes or no?"),
            {"response": {"yes": "yes", "no": "no"}, "label": "answer", "metric": "accuracy"},
        ),
    ],
)
def test_prompts_and_chats_are_for_a_causal_language_model(
    tmp_path: Path, table: Any, arguments: tuple[str, ...], fields: dict[str, Any]
) -> None:
    data = tmp_path / "own.jsonl"
    pd.DataFrame({k: list(v) for k, v in table.items()} if isinstance(table, dict) else table).to_json(
        data, orient="records", lines=True
    )
    config = begun(tmp_path, data, *arguments)
    assert {name: getattr(config.task, name) for name in fields} == fields
    assert config.model.name == ("Qwen/Qwen3-0.6B" if config.task.chat else "gemma-270m")
    assert config.training.batch_size == 16


def test_a_known_task_takes_a_prompt(tmp_path: Path) -> None:
    config = begun(tmp_path, "bbc-headline", "--prompt", "Headline: {headline}\nTopic:")
    assert (config.task.text, config.task.is_prompted, config.model.name) == (("headline",), True, "gemma-270m")


@pytest.mark.parametrize("arguments", [("bbc-match",), ("--task", "bbc-match")])
def test_a_known_task_has_its_name_alone(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert begun(tmp_path, *arguments).task == Config.model_validate({"task": "bbc-match"}).task
    assert "text:" not in (tmp_path / "first.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "init: give a file of labelled texts, or --task with a known one"),
        (("nowhere.csv",), "init: nowhere.csv is no file"),
        (("bbc-match", "--text", "headline"), "init: --text, --label and --response are columns of a file"),
        (
            ("news.csv", "--label", "topics"),
            "--label: news.csv has no column 'topics'; it has id, headline, body, topic",
        ),
        (
            ("news.csv", "--prompt", "{title}"),
            "--prompt: news.csv has no column 'title'; it has id, headline, body, topic",
        ),
        (("news.csv", "--prompt", "{headline"), "--prompt: '{headline' is no format string"),
        (("news.csv", "--response", "topic"), "--response: needs --prompt, such as --prompt"),
        (("news.csv", "--prompt", "{headline}", "--label", "id"), "--label: id of news.csv holds numbers"),
        (("news.csv", "--prompt", "{headline}", "--text", "body"), "init: --text is for a task with a head"),
        (("news.csv", "--out", "there.yaml"), "--out: there.yaml exists already; choose another"),
        (("news.csv", "--out", "config.json"), "--out: config.json must end in .yaml or .yml"),
        (("news.csv", "--out", "no/config.yaml"), "--out: no such folder: no"),
        (("tiny.csv", "--label", "topic"), "task tiny: the "),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    news().to_csv("news.csv", index=False)
    news()[:3].to_csv("tiny.csv", index=False)
    Path("there.yaml").write_text("mine")
    refused = slat("init", *arguments)
    assert refused.exit_code == 2, refused.output
    assert refused.stderr.startswith(f"error: {message}")
    assert len(refused.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["news.csv", "there.yaml", "tiny.csv"]
    assert Path("there.yaml").read_text() == "mine"


def test_in_a_terminal_it_asks_for_what_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    news().to_csv("news.csv", index=False)
    monkeypatch.setattr("slat_search.cli.starting._is_terminal", lambda: True)
    done = CliRunner().invoke(main, ["init"], input="news.csv\nheadline, body\n\nminilm\n")
    assert done.exit_code == 0, done.output
    config = load_config("news.yaml")
    assert (config.task.text, config.task.label) == (("headline", "body"), "topic")
    again = CliRunner().invoke(main, ["init", "bbc-match", "--model", "minilm"], input="")
    assert again.exit_code == 0, again.output


def accepted(fields: Any) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(fields)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_schema_takes_experiments_as_written_and_resolved(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), schema())
    jsonschema.validate(yaml.safe_load(load_config(path).to_yaml()), schema())


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("task: bbc-match", True),
        ("{tasks: [bbc-match, {name: bbc-topic, max_rows: 20}], model: minilm}", True),
        ("{baselines: [lora, {method: head}], evaluation: {kinds: typos, ratios: 0.1}}", True),
        ("baselines: standard", True),
        ("{search: {trials: 0}}", False),
        ("{search: {trails: 4}}", False),
        ("{tarining: {steps: 4}}", False),
        ("baselines: [lorra]", False),
        ("{model: {pooling: sum}}", False),
        ("{evaluation: {kinds: typo}}", False),
        ("{task: {split: [0.5, 0.5]}}", False),
    ],
)
def test_the_schema_agrees_with_the_checks(tmp_path: Path, text: str, valid: bool) -> None:
    fields = yaml.safe_load(text)
    assert accepted(fields) == valid
    done = slat("schema")
    assert json.loads(done.stdout) == schema()
