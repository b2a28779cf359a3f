from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from slat_search.models.backbone import Backbone
from slat_search.tasks import (
    Example,
    encode,
    evaluation_batches,
    join,
    training_batches,
)
from slat_search.training.context import Context


def test_batches_are_what_the_tokenizer_pads(minilm: Backbone, context: Context) -> None:
    examples = [
        Example((t,), i) for i, t in enumerate(("Short", "A rather longer headline, with a comma", "Three words here"))
    ]
    batch = encode(minilm.tokenizer, examples, 128).batch([2, 0, 1])
    expected = minilm.tokenizer([examples[i].texts[0] for i in (2, 0, 1)], padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["labels"].tolist() == [2, 0, 1]


def test_pairs_have_segments(minilm: Backbone) -> None:
    data = encode(minilm.tokenizer, [Example(("one side", "the other side"), 0)], 128)
    expected = minilm.tokenizer("one side", "the other side", return_tensors="pt")
    assert torch.equal(data.batch([0])["token_type_ids"], expected["token_type_ids"])


def test_long_text_is_cut(minilm: Backbone) -> None:
    assert encode(minilm.tokenizer, [Example(("word " * 500,), 0)], 16).lengths.tolist() == [16]


def test_an_epoch_sees_every_row_at_most_once_and_follows_the_seed(context: Context) -> None:
    data = context.tasks[0].train
    epoch = len(data) // 8
    rows = np.concatenate(list(islice(training_batches(data, 8, seed=1), epoch)))
    assert len(set(rows.tolist())) == len(rows) == epoch * 8
    again = np.concatenate(list(islice(training_batches(data, 8, seed=1), epoch)))
    other = np.concatenate(list(islice(training_batches(data, 8, seed=2), epoch)))
    assert np.array_equal(rows, again)
    assert not np.array_equal(rows, other)


@pytest.mark.parametrize("size", [5, 7, 16])
def test_no_row_is_left_out_for_ever(context: Context, size: int) -> None:
    """Not even the longest, where all rows are sorted together."""
    data = context.tasks[0].train.take(np.arange(18))
    batches = list(islice(training_batches(data, size, seed=0), 60 * (18 // size)))
    assert {len(rows) for rows in batches} == {size}
    assert set(np.concatenate(batches)) == set(range(18))


def test_fewer_rows_than_a_batch_are_one(context: Context) -> None:
    data = context.tasks[0].train.take(np.arange(5))
    assert sorted(next(training_batches(data, 8, seed=0))) == [0, 1, 2, 3, 4]


def test_bucketing_saves_padding(context: Context) -> None:
    data = context.tasks[0].train
    bucketed = list(islice(training_batches(data, 8, seed=0), len(data) // 8))
    shuffled = np.random.default_rng(0).permutation(len(data))[: len(bucketed) * 8].reshape(-1, 8)
    padded = [sum(data.lengths[rows].max() * len(rows) for rows in batches) for batches in (bucketed, shuffled)]
    assert padded[0] < 0.9 * padded[1]


def test_evaluation_sees_every_row_once(context: Context) -> None:
    rows = np.concatenate(list(evaluation_batches(context.tasks[0].test, 7)))
    assert sorted(rows.tolist()) == list(range(len(context.tasks[0].test)))


def test_joint_set_holds_every_text_once(context: Context) -> None:
    sets = [context.tasks[0].test, *context.tasks[0].test_perturbed.values()]
    joint, places = join(sets)
    assert len(joint) < 0.8 * sum(map(len, sets))
    for data, rows in zip(sets, places, strict=True):
        for i in (0, 7, len(data) - 1):
            one, other = data.batch([i]), joint.batch([rows[i]])
            assert torch.equal(one["input_ids"], other["input_ids"])
    texts = [joint.ids[a:b].tobytes() for a, b in pairwise(joint.offsets)]
    assert len(set(texts)) == len(texts)


def test_joint_set_of_pairs_tells_segments_apart(minilm: Backbone) -> None:
    same = encode(minilm.tokenizer, [Example(("a", "b"), 0), Example(("a b", "b"), 0), Example(("a", "b"), 0)], 16)
    joint, (rows,) = join([same])
    assert len(joint) == 2
    assert rows.tolist() == [0, 1, 0]
    assert torch.equal(joint.batch([1])["token_type_ids"], same.batch([1])["token_type_ids"])


def test_fewer_rows_than_a_batch_still_train(minilm: Backbone) -> None:
    data = encode(minilm.tokenizer, [Example(("one",), 0), Example(("two",), 1)], 16)
    assert sorted(next(training_batches(data, 32, seed=0)).tolist()) == [0, 1]
