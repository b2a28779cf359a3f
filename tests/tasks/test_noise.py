from __future__ import annotations

import pytest
import torch

from slat_search.tasks import Noise, embedding_noise, noisy_labels, noisy_tokens
from slat_search.training.backbone import Backbone
from slat_search.training.context import Context


def apply(context: Context, minilm: Backbone, kind: str, ratio: float, seed: int = 0) -> tuple[dict, dict]:
    batch = context.train.batch(range(len(context.train)))
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


def test_moved_labels_are_other_labels(context: Context) -> None:
    data = context.train
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
