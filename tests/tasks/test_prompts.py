"""Prompts: what a row becomes, what is cut, and what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from pydantic import ValidationError
from tokenizers import decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from slat_search import SlatError
from slat_search.config import Task
from slat_search.tasks import Example, Noise, Template, encode_prompts, join, noisy_tokens
from tests.decoders import tokenizer

PROMPT = "Headline: {headline}\nTopic:"
ROWS = [Example(("Chelsea win away",), 0), Example(("Markets fall after a surprise rise in rates",), 1)]


@pytest.fixture(scope="module")
def bpe() -> Any:
    return tokenizer()


@pytest.fixture(scope="module")
def spaced() -> Any:
    """A tokenizer that puts a space before every text, as those of Llama 2 and Mistral do."""
    words = {"<unk>": 0, "</s>": 1, "\u2581": 2} | {letter: 3 + n for n, letter in enumerate("abcdefgijlmnopqrstuy:\n")}
    inner = tokenizers.Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    inner.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>", pad_token="</s>")


@pytest.mark.parametrize("prompt", ["a: {headline}\nb:", "{headline}", "a: {headline}\n"])
def test_responses_and_words_continue_their_prompt(spaced: Any, bpe: Any, prompt: str) -> None:
    """With the very tokens that the whole text has."""
    for reader in (spaced, bpe):
        read = Template.of(reader, ["headline"], prompt)
        rows = [Example(("abc def",), 0, "yes"), Example(("a lion is not a rabbit",), 0, "no or yes")]
        space = "" if prompt.endswith("\n") else " "
        for row, ids in zip(rows, read.responses(rows), strict=True):
            text = read.filled(row)[0]
            whole = reader(text + space + row.response, add_special_tokens=False)["input_ids"]
            before = reader(text, add_special_tokens=False)["input_ids"]
            assert [*before, *ids] == [*whole, *read.end]
        (words,) = read.words(["yes"])
        assert [*words, *read.end] == read.responses([rows[0]])[0]


def template(bpe: Any, prompt: str = PROMPT) -> Template:
    return Template.of(bpe, ["headline"], prompt)


def test_a_row_is_its_template_behind_the_first_token(bpe: Any) -> None:
    data = encode_prompts(template(bpe), ROWS, 64)
    texts = [bpe.decode(data.ids[a:b]) for a, b in zip(data.offsets, data.offsets[1:], strict=False)]
    assert texts == [f"<s>Headline: {row.texts[0]}\nTopic:" for row in ROWS]
    own = [bpe.decode(data.ids[a:b][data.own[a:b]]) for a, b in zip(data.offsets, data.offsets[1:], strict=False)]
    assert [text.strip() for text in own] == [row.texts[0] for row in ROWS]


def test_a_tokenizer_that_begins_with_nothing() -> None:
    plain = tokenizer(begins=False)
    data = encode_prompts(template(plain), ROWS, 64)
    assert plain.decode(data.ids[: data.offsets[1]]).startswith("Headline")


def test_batches_end_together(bpe: Any) -> None:
    data = encode_prompts(template(bpe), ROWS, 64)
    batch = data.batch([0, 1])
    lengths = data.lengths
    assert batch["input_ids"].shape == (2, lengths.max())
    assert batch["attention_mask"].sum(1).tolist() == lengths.tolist()
    assert batch["attention_mask"][0].tolist() == [0] * (lengths[1] - lengths[0]) + [1] * lengths[0]
    for row in (0, 1):
        there = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][there].tolist() == data.ids[data.offsets[row] : data.offsets[row + 1]].tolist()
        assert batch["own"][row][there].tolist() == data.own[data.offsets[row] : data.offsets[row + 1]].tolist()
        assert not batch["own"][row][~there].any()
    assert (batch["input_ids"][0][~batch["attention_mask"][0].bool()] == bpe.pad_token_id).all()


def test_long_prompts_lose_their_beginning_and_it_is_said(bpe: Any) -> None:
    whole = encode_prompts(template(bpe), ROWS, 64)
    room = int(whole.lengths[0])
    with pytest.warns(UserWarning, match=f"1 of the prompts of train are cut from the left, to {room} tokens at least"):
        data = encode_prompts(template(bpe), ROWS, room, "prompts of train")
    assert data.lengths.tolist() == [room, room]
    assert data.ids[data.offsets[1]] == bpe.bos_token_id
    assert data.ids[data.offsets[1] + 1 :].tolist() == whole.ids[1 - room :].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_prompts(template(bpe), ROWS, 64, "prompts of train")


def test_noise_leaves_the_template_alone(bpe: Any) -> None:
    batch = encode_prompts(template(bpe), ROWS, 64).batch([0, 1])
    noise, vocabulary = Noise("mask", 1.0), torch.arange(10)
    noisy = noisy_tokens(batch, noise, bpe.all_special_ids, 5, vocabulary, torch.Generator().manual_seed(0))
    assert torch.equal(noisy["input_ids"] != batch["input_ids"], batch["own"] & (batch["input_ids"] != 5))


def test_the_same_prompt_stands_once_in_a_joint_set(bpe: Any) -> None:
    first, second = encode_prompts(template(bpe), ROWS, 64), encode_prompts(template(bpe), [ROWS[1], ROWS[1]], 64)
    joint, places = join([first, second])
    assert len(joint) == 2
    assert [rows.tolist() for rows in places] == [[0, 1], [1, 1]]
    assert np.array_equal(joint.own, first.own)


def test_a_chat_goes_through_the_tokenizers_template(bpe: Any) -> None:
    messages = [{"role": "system", "content": "Name the topic."}, {"role": "user", "content": " {headline} "}]
    chat = Template.of(bpe, ["headline"], None, messages)
    data = encode_prompts(chat, [Example(("Name",), 0)], 64)
    assert bpe.decode(data.ids) == "<s><|system|>\nName the topic.\n<|user|>\nName\n<|assistant|>\n"
    assert data.ids.tolist().count(bpe.bos_token_id) == 1
    assert chat.words(["sport"]) == (tuple(bpe("sport", add_special_tokens=False)["input_ids"]),)


def test_a_field_that_repeats_the_template_is_found_in_its_place(bpe: Any) -> None:
    data = encode_prompts(template(bpe, "{headline} {headline}?"), [Example(("win",), 0)], 64)
    assert bpe.decode(data.ids[data.own]).split() == ["win", "win"]


@pytest.mark.parametrize(
    ("prompt", "column"), [("Is this review good?\nText: {headline}\nAnswer:", "review"), ("a {headline} a", "a")]
)
def test_a_field_that_stands_in_the_template_before_is_not_taken_for_it(bpe: Any, prompt: str, column: str) -> None:
    text, spans = template(bpe, prompt).filled(Example((column,), 0))
    start = prompt.index("{")
    assert spans == [(start, start + len(column))]
    assert text == prompt.replace("{headline}", column)


@pytest.mark.parametrize("content", ["user", " user ", "<|user|>\nuser", "assistant"])
def test_a_message_that_repeats_its_role_is_found_in_its_place(bpe: Any, content: str) -> None:
    messages = [{"role": "system", "content": "user"}, {"role": "user", "content": "Say {headline}"}]
    text, spans = Template.of(bpe, ["headline"], None, messages).filled(Example((content,), 0))
    assert [text[a:b] for a, b in spans] == [content.rstrip()]
    assert text[: spans[0][0]].endswith("<|user|>\nSay ")
    whole = Template.of(bpe, ["messages"], None).filled(Example(("user", content), 0, roles=("system", "user")))
    assert [whole[0][a:b] for a, b in whole[1]] == [content.strip()]
    assert whole[0][: whole[1][0][0]].endswith("<|user|>\n")


MESSAGE = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{{ end }}{% endfor %}"


@pytest.mark.parametrize(
    ("chat", "ends"),
    [
        (MESSAGE.replace("{{ end }}", "</reply>"), "</reply>"),
        (MESSAGE.replace("{{ end }}", "<|im_end|>\n"), "<|im_end|>\n"),
        (MESSAGE.replace("{{ end }}", "\n"), "\n</s>"),  # a line may end within a response, too
        (MESSAGE.replace("{{ end }}", ""), "</s>"),
        ("{% if messages[0]['role'] != 'system' %}{{ raise_exception('no') }}{% endif %}" + MESSAGE, "</s>"),
    ],
)
def test_what_ends_a_response_follows_from_the_chat_template(chat: str, ends: str) -> None:
    reads = tokenizer()
    reads.chat_template = chat
    template = Template.of(reads, ["messages"], None)
    (ids,) = template.responses([Example(("x",), 0, "y", ("user",))])
    assert reads.decode(ids) == f"y{ends}"
    assert reads.decode(template.stop) == (ends.strip() if ends != "\n</s>" else "</s>")


@pytest.mark.parametrize(
    ("prompt", "word", "joined"),
    [
        ("Topic of {headline}:", "sport", " sport"),
        ("Topic of {headline}: ", "sport", " sport"),
        ("Topic of {headline}:\n", "sport", "sport"),
        ("Topic of {headline}:", "\nsport", "\nsport"),
    ],
)
def test_words_continue_the_prompt(bpe: Any, prompt: str, word: str, joined: str) -> None:
    (ids,) = template(bpe, prompt).words([word])
    assert bpe.decode(ids) == joined
    data = encode_prompts(template(bpe, prompt), ROWS[:1], 64)
    text = prompt.format(headline=ROWS[0].texts[0]).rstrip(" ") + joined
    assert [*data.ids, *ids] == bpe(text)["input_ids"]


def test_words_may_begin_alike_and_not_be_alike(bpe: Any) -> None:
    first, second = template(bpe).words(["win", "win away"])
    assert second[: len(first)] == first
    with pytest.raises(SlatError, match=r"task.response: the model's tokenizer cannot tell 'win'"):
        template(bpe).words(["win", " win"])


def test_a_chat_without_a_template_is_refused() -> None:
    with pytest.raises(SlatError, match=r"task.messages: the model's tokenizer has no chat template"):
        Template.of(tokenizer(chat=False), ["text"], None, [{"role": "user", "content": "{text}"}])


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"prompt": "What topic?"}, "prompt names no column"),
        ({"prompt": "{headline"}, "is no format string"),
        ({"prompt": "{headline.__class__}"}, "a field is the name of a column and no more"),
        ({"prompt": "{headline!r}"}, "a field is the name of a column and no more"),
        ({"prompt": "{}"}, "a field is the name of a column and no more"),
        ({"prompt": "{headline}", "text": ["article"]}, "the prompt names 'headline', which is not among text"),
        ({"prompt": "{a}", "messages": [{"content": "{a}"}]}, "forms of one thing"),
        ({"messages": [{"role": "assistant", "content": "{a}"}]}, "the last one is of the assistant"),
        ({"prompt": "{a}", "response": {"x": "yes", "y": "yes"}}, "'x' and 'y' have the same words"),
        ({"prompt": "{a}", "response": {"x": "yes", "y": " "}}, "'y' has no words"),
        ({"prompt": "{a}", "response": {True: "yes", "y": "no"}}, "write labels in quotes"),
        ({"prompt": "{a}", "response": {"x": "a", "y": "b"}, "label_names": ["x", "z"]}, "'y' is in one alone"),
        ({"response": {"x": "a", "y": "b"}}, "response answers a prompt, which is not given"),
        ({"prompt": "{a}", "metric": "pearson"}, "a prompt is answered by words"),
        ({"text": ["a", "b", "c"]}, "one or two go without a prompt"),
        ({"prompt": {"a": None}}, "prompt is a text; write it in quotes"),
        ({"prompt": ["{a}"]}, "prompt is a text; write it in quotes"),
        ({"chat": ["messages"]}, "chat is a text"),
        ({"messages": {"content": "{a}"}}, "messages is a list of role and content"),
        ({"prompt": "{a}", "response": ["x", "y"]}, "response is the name of a column, or the words of each label"),
        ({"prompt": "{a}", "response": {"x": ["a"], "y": "b"}}, "the words of a label are one text, not"),
        ({"prompt": "{a}", "response": {}}, "response has no label"),
        ({"prompt": "{a} {label}?", "response": {"x": "a", "y": "b"}}, "the prompt names 'label', which is the answer"),
        ({"prompt": "{a} {b}?", "response": "b"}, "the prompt names 'b', which is the answer"),
        ({"prompt": "{a}", "metric": "rouge_l"}, "measures a response of the model's own, and none is asked for"),
        ({"prompt": "{a}", "response": "b", "metric": "f1"}, "f1 measures labels; of a response token_accuracy"),
    ],
)
def test_what_is_no_prompt_is_one_sentence(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Task.model_validate({"name": "mine", "train": "train.csv", **fields})


def test_columns_and_labels_follow_from_the_prompt() -> None:
    task = Task(name="mine", train="t.csv", prompt="{b} and {a}, {b}?", response={0: "no", 1: "yes"})
    assert task.text == ("b", "a")
    assert Task.model_validate(task.model_dump(mode="json")) == task
    assert Task(name="bbc-match", prompt="{article}: {headline}?").text == ("headline", "article")
