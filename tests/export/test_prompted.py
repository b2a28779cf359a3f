"""Adapters that answer in words, exported: the README's code says what `slat predict` says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from slat_search import SlatError
from slat_search.export import export
from slat_search.inference.label_file import label_rows
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import write_adapter
from slat_search.records import TrainingJob
from slat_search.structure import Structure, attach, find_sites
from slat_search.tasks.rows import Rows, read_rows
from slat_search.training.context import Context, prepare
from tests.conftest import small_config
from tests.decoders import decoder
from tests.export.folders import MEASURES
from tests.structure.test_kinds import shake

LABELS = {"name": "bbc-headline", "max_rows": 32}
FORMS: dict[str, dict] = {
    "prompt": {"prompt": "Headline: {headline}\nTopic:"},
    "chat": {"messages": [{"role": "user", "content": "Topic of {headline}?"}]},
}


def saved(task: dict, folder: Path, *kinds: str) -> tuple[Context, Path]:
    """An adapter with random weights on a random decoder."""
    model = decoder(folder / "model")
    context, _ = prepare(small_config(task=task, model=str(model)))
    structure = Structure()
    for kind in kinds:
        structure |= Structure.at(find_sites(context.frozen.model), kind, 2)
    adapter = attach(context.frozen.model, structure)
    shake(adapter)
    state = {f"adapter.{name}": value.numpy().copy() for name, value in adapter.state_dict().items()}
    adapter.detach()
    job = TrainingJob("slat", "slat-test", 0.003, 0, options={"structure": structure.to_dict()})
    write_adapter(folder / "adapter", context, job, state, MEASURES)
    return context, folder / "adapter"


def run_code(out: Path) -> dict:
    (code,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    exec(code.replace('folder = "."', f"folder = {str(out)!r}"), names)
    return names


@pytest.mark.parametrize("form", ["merged", "peft"])
@pytest.mark.parametrize("task", [FORMS["prompt"], FORMS["chat"]])
def test_labels(tmp_path: Path, form: str, task: dict) -> None:
    _, adapter = saved({**LABELS, **task}, tmp_path, "lora", "spectral")
    expected = load_predictor(adapter)(["a text"])
    exported = export(adapter, tmp_path / "out", form)
    assert exported.task_type == "CAUSAL_LM"
    names = run_code(exported.out)
    assert np.allclose(names["probabilities"].numpy(), expected[0], atol=1e-5)
    assert not (exported.out / "head.safetensors").exists()
    assert json.loads((exported.out / "prompt.json").read_text())["prompt"]["words"]
    assert "pipeline_tag: text-generation" in (exported.out / "README.md").read_text()


@pytest.mark.parametrize("form", ["merged", "peft"])
def test_responses(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"q": f"Number {i}", "a": f"It is {i}."} for i in range(30)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {
        "name": "numbers",
        "train": str(tmp_path / "train.jsonl"),
        "prompt": "{q}",
        "response": "a",
        "max_new_tokens": 7,
    }
    _, adapter = saved(task, tmp_path, "lora")
    (expected,) = load_predictor(adapter).generate(["a text"])
    out = export(adapter, tmp_path / "out", form).out
    capsys.readouterr()
    run_code(out)
    assert capsys.readouterr().out.strip().endswith(expected)


def test_servers_read_one_rank(tmp_path: Path) -> None:
    _, adapter = saved({**LABELS, **FORMS["prompt"]}, tmp_path, "spectral")
    out = export(adapter, tmp_path / "out", "peft", uniform_rank=True).out
    assert json.loads((out / "adapter_config.json").read_text())["rank_pattern"] == {}


def test_there_is_no_class_with_a_head(tmp_path: Path) -> None:
    _, adapter = saved({**LABELS, **FORMS["prompt"]}, tmp_path, "lora")
    with pytest.raises(SlatError, match="answers in words and has no head; its class is CAUSAL_LM"):
        export(adapter, tmp_path / "out", "merged", task_type="SEQ_CLS")


def test_a_chat_is_answered_with_all_of_its_messages(tmp_path: Path) -> None:
    """The file that an adapter was trained on can be predicted, as lists and as JSON in a column of text."""
    chats = [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"What is two and {number}?"},
            {"role": "assistant", "content": f"It is {2 + number}."},
        ]
        for number in range(30)
    ]
    answered, said = chats[0], chats[0][:2]
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps({"messages": chat}) for chat in chats))
    task = {"name": "chats", "train": str(path), "chat": "messages", "max_new_tokens": 7}
    _, adapter = saved(task, tmp_path, "lora")
    predictor = load_predictor(adapter)
    (expected,) = predictor.generate([said])
    assert predictor.generate([answered, said[1:]]) == [expected, *predictor.generate([said[1]["content"]])]
    assert predictor.generate([json.dumps(answered)]) == [expected]
    for rows in (read_rows(path, "--file"), Rows("a.csv", {"messages": [json.dumps(said), said[1]["content"]]})):
        labelled = label_rows(predictor, rows)
        assert labelled.values("predicted")[0] == expected
        assert labelled.values("messages") == rows.values("messages")
    for text, message in (
        ([], "text: row 1 is no chat"),
        ([said[0]["content"], answered[2:]], "text: row 2: nothing stands before the assistant's message"),
        ([[{"role": "tool", "content": "4"}]], "roles are system, user, assistant"),
        ([" "], "text: row 1 has an empty text"),
    ):
        with pytest.raises(SlatError, match=message):
            predictor.generate(text or [[]])
    with pytest.raises(SlatError, match="wants a chat, or a message of the user"):
        predictor.generate([])


@pytest.mark.parametrize("form", ["merged", "peft"])
def test_columns_with_digits_for_names(tmp_path: Path, form: str) -> None:
    rows = [{"0": f"Number {i}", "a": f"It is {i}."} for i in range(30)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"name": "numbers", "train": str(tmp_path / "train.jsonl"), "prompt": "{0}", "response": "a"}
    _, adapter = saved({**task, "max_new_tokens": 3}, tmp_path, "lora")
    assert run_code(export(adapter, tmp_path / "out", form).out)["prompt"] == "a text"


def test_a_place_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    _, adapter = saved({**LABELS, **FORMS["prompt"]}, tmp_path, "lora")
    (tmp_path / "file").write_text("")
    with pytest.raises(SlatError, match=r"file/out: cannot be made: Not a directory"):
        export(adapter, tmp_path / "file" / "out", "peft")
