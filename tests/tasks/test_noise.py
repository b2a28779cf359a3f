from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slat_search.models.backbone import Backbone
from slat_search.tasks import (
    Noise,
    embedding_noise,
    noisy_labels,
    noisy_tokens,
)
from slat_search.training.context import Context


def apply(context: Context, minilm: Backbone, kind: str, ratio: float, seed: int = 0) -> tuple[dict, dict]:
    batch = context.tasks[0].train.batch(range(len(context.tasks[0].train)))
    tokenizer = minilm.tokenizer
    vocabulary = torch.arange(1000, 2000)
    generator = torch.Generator().manual_seed(seed)
    return batch, noisy_tokens(
        batch, Noise(kind, ratio), tokenizer.all_special_ids, tokenizer.mask_token_id, vocabulary, generator
    )


def changed(before: dict, after: dict) -> torch.Tensor:
    return (before["input_ids"] != after["input_ids"]) | (before["attention_mask"] != after["attention_mask"])


@pytest.mark.parametrize("kind", ["mask", "replace", "drop"])
def test_share_of_ordinary_tokens(context: Context, minilm: Backbone, kind: str) -> None:
    before, after = apply(context, minilm, kind, 0.2)
    special = torch.isin(before["input_ids"], torch.tensor(minilm.tokenizer.all_special_ids))
    hit = changed(before, after)
    assert not hit[special].any()
    assert float(hit[~special].float().mean()) == pytest.approx(0.2, abs=0.04)
    assert torch.equal(before["labels"], after["labels"])


@pytest.mark.parametrize("kind", ["mask", "replace", "drop"])
def test_same_seed_same_noise(context: Context, minilm: Backbone, kind: str) -> None:
    (_, one), (_, two), (_, other) = (apply(context, minilm, kind, 0.2, seed) for seed in (0, 0, 1))
    assert not changed(one, two).any()
    assert changed(one, other).any()


@pytest.mark.parametrize(("kind", "ratio"), [("none", 0.3), ("mask", 0.0), ("label", 0.3), ("embedding", 0.3)])
def test_tokens_stay_without_token_noise(context: Context, minilm: Backbone, kind: str, ratio: float) -> None:
    before, after = apply(context, minilm, kind, ratio)
    assert not changed(before, after).any()


def test_mixed_noise_has_a_third_of_each(context: Context, minilm: Backbone) -> None:
    noise = Noise("mixed", 0.3)
    assert (noise.tokens, noise.labels, noise.embeddings) == pytest.approx((0.1, 0.1, 0.1))
    before, after = apply(context, minilm, "mixed", 0.3)
    hidden = before["attention_mask"] != after["attention_mask"]
    masked = (after["input_ids"] == minilm.tokenizer.mask_token_id) & (before["input_ids"] != after["input_ids"])
    replaced = (before["input_ids"] != after["input_ids"]) & ~masked
    special = torch.isin(before["input_ids"], torch.tensor(minilm.tokenizer.all_special_ids))
    for hit in (hidden, masked, replaced):
        assert not hit[special].any()
        assert float(hit[~special].float().mean()) == pytest.approx(0.1 / 3, abs=0.015)
    assert 0 < (noisy_labels(context.tasks[0].train, noise, 5, 0).labels != context.tasks[0].train.labels).mean() < 0.25


def test_numbers_are_shuffled_among_their_rows(context: Context) -> None:
    labels = np.random.default_rng(0).normal(size=len(context.tasks[0].train)).astype(np.float32)
    noisy = noisy_labels(replace(context.tasks[0].train, labels=labels), Noise("label", 0.3), 1, 0)
    assert noisy.labels.dtype == np.float32
    assert sorted(noisy.labels) == sorted(labels)
    assert 0.1 < (noisy.labels != labels).mean() <= 0.45


def test_the_same_seed_gives_the_same_noisy_batches_in_two_processes(tmp_path: Path) -> None:
    code = """
import hashlib, sys, torch
from slat_search.tasks import Noise, embedding_noise, noisy_labels, noisy_tokens, training_batches
from slat_search.training.context import prepare
from slat_search.training.loop import Plan
from tests.conftest import small_config

context, _ = prepare(small_config())
noise, generator = Noise("mixed", 0.3), torch.Generator().manual_seed(5)
data = noisy_labels(context.tasks[0].train, noise, 5, 5)
batches, seen = training_batches(data, 16, 5), hashlib.sha256()
embeddings = context.frozen.model.get_input_embeddings()
for _ in range(4):
    batch = noisy_tokens(data.batch(next(batches)), noise, (0, 101, 102), 103, torch.arange(1000, 2000), generator)
    with embedding_noise(embeddings, noise, generator):
        vectors = embeddings(batch["input_ids"].to(embeddings.weight.device))
    for value in (*batch.values(), vectors):
        seen.update(value.detach().cpu().numpy().tobytes())
print(seen.hexdigest())
"""
    root = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert other.returncode == 0, other.stderr
    here = io.StringIO()
    with redirect_stdout(here):
        exec(code, {})
    assert here.getvalue() == other.stdout != ""


def test_moved_labels_are_other_labels(context: Context) -> None:
    data = context.tasks[0].train
    noisy = noisy_labels(data, Noise("label", 0.25), 5, seed=0)
    moved = (noisy.labels != data.labels).mean()
    assert moved == pytest.approx(0.25, abs=0.12)
    assert set(noisy.labels.tolist()) <= set(range(5))
    assert (noisy_labels(data, Noise("label", 0.25), 5, seed=0).labels == noisy.labels).all()
    assert noisy_labels(data, Noise("mask", 0.25), 5, seed=0) is data


def test_embedding_noise_has_neftune_size_and_spares_evaluation(minilm: Backbone) -> None:
    embeddings = minilm.model.get_input_embeddings()
    ids = torch.arange(2000, 2064).view(2, 32)
    clean = embeddings(ids)
    with embedding_noise(embeddings, Noise("embedding", 0.1), torch.Generator().manual_seed(0)):
        noisy = embeddings(ids)
        with torch.no_grad():
            assert torch.equal(embeddings(ids), clean)
    bound = 10 / (32 * 384) ** 0.5
    difference = (noisy - clean).abs()
    assert bound * 0.95 < float(difference.max().detach()) <= bound * 1.0001
    assert torch.equal(embeddings(ids), clean)
