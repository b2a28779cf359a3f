"""Prompts with responses: files, chats and Alpaca's fields as tokens, and what is refused before anything trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from slat_search import SlatError
from slat_search.config import Task
from slat_search.tasks import (
    Example,
    Noise,
    Responses,
    Template,
    encode_responses,
    join,
    load_task,
    noisy_labels,
    perturb,
)
from slat_search.tasks.describe import description
from slat_search.tasks.duplicates import without_leaks
from tests.decoders import tokenizer

ROWS = [
    Example(("Chelsea win away",), 0, "A win for the guests."),
    Example(("Markets fall",), 0, "Prices are lower than they were."),
    Example(("Film festival opens in New Orleans",), 0, "Yes"),
]


@pytest.fixture(scope="module")
def bpe() -> Any:
    return tokenizer()


def encoded(bpe: Any, rows: list[Example] = ROWS, length: int = 64) -> Responses:
    return encode_responses(Template.of(bpe, ["headline"], "Say more: {headline}\n"), rows, length)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_response_is_what_follows_its_prompt_and_ends(bpe: Any) -> None:
    data = encoded(bpe)
    for row, example in enumerate(ROWS):
        prompt = data.ids[data.offsets[row] : data.offsets[row + 1]]
        assert bpe.decode([*prompt, *data.response(row)]) == f"<s>Say more: {example.texts[0]}\n{example.response}</s>"


def test_a_tokenizer_that_ends_nothing_is_said() -> None:
    endless = tokenizer()
    endless.eos_token = None
    with pytest.warns(UserWarning, match="no end of text .eos_token., so that responses end at max_new_tokens alone"):
        data = encoded(endless)
    assert endless.decode(data.response(0)) == ROWS[0].response


def test_a_batch_holds_the_responses_of_its_rows(bpe: Any) -> None:
    data = encoded(bpe)
    batch = data.batch([2, 0])
    assert [[t for t in row if t >= 0] for row in batch["responses"].tolist()] == [
        data.response(2).tolist(),
        data.response(0).tolist(),
    ]
    assert data.weight(np.array([2, 0])) == len(data.response(2)) + len(data.response(0))


def test_the_prompt_is_cut_and_the_response_never(bpe: Any) -> None:
    whole = encoded(bpe)
    length = int((whole.lengths + whole.response_lengths).max()) - 2
    with pytest.warns(UserWarning, match="cut from the left"):
        data = encode_responses(Template.of(bpe, ["headline"], "Say more: {headline}\n"), ROWS, length, "prompts")
    assert (data.lengths + data.response_lengths <= length).all()
    assert np.array_equal(data.response_ids, whole.response_ids)
    with pytest.raises(
        SlatError, match=r"task.max_length: 2 responses of the .* in 10 tokens, the first of 9 tokens: 'A win"
    ):
        encoded(bpe, length=10)


def test_joint_sets_part_the_same_prompt_by_its_response(bpe: Any) -> None:
    other = [ROWS[0], Example(ROWS[1].texts, 0, "Another")]
    joint, places = join([encoded(bpe), encoded(bpe, other)])
    assert len(joint) == 4
    assert [rows.tolist() for rows in places] == [[0, 1, 2], [0, 3]]
    assert bpe.decode(joint.response(3)) == "Another</s>"


def test_label_noise_gives_prompts_other_responses(bpe: Any) -> None:
    data = encoded(bpe, ROWS * 20)
    noisy = noisy_labels(data, Noise("label", 0.5), 3, 0)
    same = [np.array_equal(data.response(i), noisy.response(i)) for i in range(60)]
    assert 0.4 < np.mean(same) < 0.9
    one, other = (sorted(part.response(i).tobytes() for i in range(60)) for part in (data, noisy))
    assert one == other
    assert np.array_equal(noisy.ids, data.ids)


def test_alpaca_files_have_inputs_or_none(bpe: Any, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Add the numbers {i}", "input": "" if i % 2 else f"{i} and {i}", "output": str(2 * i)}
        for i in range(40)
    ]
    task = Task(name="sums", train=write(tmp_path / "train.jsonl", rows), prompt="alpaca")
    assert (task.text, task.response, task.metric) == (("instruction", "input"), "output", "token_accuracy")
    data = load_task(task, 0)
    template = Template.of(bpe, task.text, task.prompt)
    texts = [template.filled(e)[0] for e in data.splits["train"]]
    bare = [text for text in texts if "### Input" not in text]
    assert 0 < len(bare) < len(texts)
    assert all(text.endswith("### Response:\n") and "further context" not in text for text in bare)
    assert perturb(data.splits["train"], "word_drop", 0.3, 0)[0].response == data.splits["train"][0].response
    rows[6]["instruction"] = None
    with pytest.raises(SlatError, match=r"empty.jsonl row 7 has no instruction"):
        load_task(Task(name="sums", train=write(tmp_path / "empty.jsonl", rows), prompt="alpaca"), 0)
    rows[6]["instruction"] = "Add"
    without = [{name: value for name, value in row.items() if name != "input"} for row in rows]
    again = load_task(Task(name="sums", train=write(tmp_path / "bare.jsonl", without), prompt="alpaca"), 0)
    assert all(example.texts[1] == "" for example in again.splits["train"])


CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is two and two?"},
    {"role": "assistant", "content": "Four."},
]


def test_chats_end_with_what_is_learned(bpe: Any, tmp_path: Path) -> None:
    rows = [{"messages": [{**m, "content": f"{m['content']} {i}"} for m in CHAT]} for i in range(20)]
    task = Task(name="chats", train=write(tmp_path / "train.jsonl", rows), chat="messages")
    data = load_task(task, 0)
    example = data.splits["train"][0]
    assert example.roles == ("system", "user")
    encoded = encode_responses(Template.of(bpe, task.text, None), [example], 128)
    text = bpe.decode([*encoded.ids, *encoded.response_ids])
    assert text == (
        f"<s><|system|>\n{example.texts[0]}\n<|user|>\n{example.texts[1]}\n<|assistant|>\n{example.response}\n</s>"
    )
    assert bpe.decode(encoded.ids[encoded.own]).strip() == example.texts[1]
    (changed,) = perturb([example], "word_drop", 0.9, 1)
    assert changed.texts[0] == example.texts[0]
    assert changed.texts[1] != example.texts[1]
    assert "a response, in words" in description(task, 0)


@pytest.mark.parametrize("dump", [list, json.dumps])
def test_chats_of_sharegpt_are_the_same_chats(tmp_path: Path, dump: Callable[[Any], Any]) -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    chats = [[{**message, "content": f"{message['content']} {i}"} for message in CHAT] for i in range(20)]
    same = [[{"from": names[m["role"]], "value": m["content"], "weight": 1} for m in chat] for chat in chats]
    paths = {
        "messages": write(tmp_path / "messages.jsonl", [{"messages": chat} for chat in chats]),
        "conversations": write(tmp_path / "sharegpt.jsonl", [{"conversations": dump(chat)} for chat in same]),
    }
    first, second = (load_task(Task(name="chats", train=path, chat=name), 0) for name, path in paths.items())
    assert first.splits == second.splits


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ("hello", "row 2 is no chat but a text: 'hello'"),
        ("[" * 100_000, "row 2 is no chat but a text: '"),
        ([], "row 2 is no chat: a list of messages"),
        ([CHAT[1]], "row 2: the last message is of the user, and the assistant's is the response"),
        ([CHAT[2]], "row 2: nothing stands before the assistant's message"),
        ([{"role": "bot", "content": "x"}], "row 2: message 1 is of the role 'bot'"),
        ([{"content": "x"}], "row 2: message 1 has no role and content"),
        ([{"from": "system", "value": "x"}, {"from": "tool", "value": "x"}], "message 2 is of the role 'tool'"),
        ([{"from": 3, "value": "x"}], "row 2: message 1 is of the role 3"),
        ([{"role": "user", "value": "x"}], "row 2: message 1 has no role and content"),
        ([CHAT[1], {"role": "assistant", "content": None}], "row 2: message 2 holds a NoneType and no text"),
        ([CHAT[1], {"role": "assistant", "content": " "}], "1 empty responses, the first in row 2"),
    ],
)
def test_what_is_no_chat_is_one_sentence(tmp_path: Path, messages: Any, why: str) -> None:
    path = write(tmp_path / "train.jsonl", [{"messages": CHAT}, {"messages": messages}])
    with pytest.raises(SlatError, match=why) as error:
        load_task(Task(name="chats", train=path, chat="messages"), 0)
    assert "\n" not in str(error.value)


def test_empty_responses_are_counted(tmp_path: Path) -> None:
    frame = pd.DataFrame({"q": [f"question {i}" for i in range(20)], "a": ["yes"] * 18 + [None, " "]})
    frame.to_parquet(tmp_path / "train.parquet")
    task = Task(name="qa", train=tmp_path / "train.parquet", prompt="{q}", response="a")
    with pytest.raises(SlatError, match=r"train.parquet has 2 empty responses, the first in row 19"):
        load_task(task, 0)
    with pytest.raises(SlatError, match=r"train.parquet has no column 'answer'"):
        load_task(Task(name="qa", train=tmp_path / "train.parquet", prompt="{q}", response="answer"), 0)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"prompt": "{q}", "response": "a", "metric": "accuracy"}, "metric: .*token_accuracy, exact_match, rouge_l"),
        ({"prompt": "{q}", "metric": "rouge_l"}, "metric: rouge_l"),
        ({"metric": "exact_match"}, "metric: exact_match"),
        ({"chat": "messages", "prompt": "{q}"}, "forms of one thing"),
        ({"chat": "messages", "response": "a"}, "chat holds the prompt and the response"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Task.model_validate({"name": "mine", "train": "train.csv", **fields})


def test_a_prompt_with_several_responses_keeps_them_in_train() -> None:
    """Of one prompt in two splits the later split has it alone; the same answer twice is a repeat."""
    rows = [Example(("Explain A",), 0, "one"), Example(("explain  a",), 0, "two"), Example(("Explain A",), 0, "one")]
    splits, notes = without_leaks({"train": rows, "validation": [], "test": []})
    assert [example.response for example in splits["train"]] == ["one", "two"]
    assert notes == ["1 row of train repeats earlier ones and is left out"]
    splits, notes = without_leaks({"train": rows, "validation": [], "test": [Example(("explain a",), 0, "two")]})
    assert "train" not in splits
    assert notes == [
        "3 rows of train repeat texts of test and are left out of train; 2 of them with another response, such as "
        "'Explain A'"
    ]
