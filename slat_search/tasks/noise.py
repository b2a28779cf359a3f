"""Noise in training: tokens, labels or embeddings, at an injection ratio. Evaluation never sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from .encoding import Batch, Encoded

NOISE_KINDS = ("none", "mask", "replace", "drop", "label", "embedding")


@dataclass(frozen=True)
class Noise:
    """Kind and injection ratio (0 to 1).

    ``mask``, ``replace``, ``drop``: that share of the ordinary tokens becomes the mask token, a random token
    of the training text, or invisible to attention. ``label``: that share of training labels is moved to
    another class once. ``embedding``: uniform noise on token embeddings as in NEFTune (Jain et al. 2023,
    arXiv 2310.05914), magnitude ``100 * ratio / sqrt(length * width)``; their alpha 5-15 is ratio 0.05-0.15.
    """

    kind: str = "none"
    ratio: float = 0.0

    @property
    def active(self) -> bool:
        return self.kind != "none" and self.ratio > 0


def noisy_labels(data: Encoded, noise: Noise, classes: int, seed: int) -> Encoded:
    """``data`` with a share of its labels moved to another class, uniformly."""
    if noise.kind != "label" or not noise.active:
        return data
    rng = np.random.default_rng([seed, 1])
    moved = rng.random(len(data)) < noise.ratio
    shift = rng.integers(1, classes, len(data))
    return replace(data, labels=np.where(moved, (data.labels + shift) % classes, data.labels))


def noisy_tokens(
    batch: Batch, noise: Noise, special: Collection[int], mask_id: int, vocabulary: Tensor, generator: torch.Generator
) -> Batch:
    """``batch`` with token noise; special tokens stay.

    Args:
        vocabulary: token ids (n,) to replace with, as they occur in the training text.
        generator: CPU generator that decides everything.
    """
    if noise.kind not in ("mask", "replace", "drop") or not noise.active:
        return batch
    ids = batch["input_ids"]
    ordinary = batch["attention_mask"].bool() & ~torch.isin(ids, torch.tensor(sorted(special)))
    hit = ordinary & (torch.rand(ids.shape, generator=generator) < noise.ratio)
    if noise.kind == "drop":
        return {**batch, "attention_mask": batch["attention_mask"] * ~hit}
    if noise.kind == "mask":
        return {**batch, "input_ids": torch.where(hit, mask_id, ids)}
    random_ids = vocabulary[torch.randint(len(vocabulary), ids.shape, generator=generator)]
    return {**batch, "input_ids": torch.where(hit, random_ids, ids)}


@contextmanager
def embedding_noise(embeddings: nn.Module, noise: Noise, generator: torch.Generator) -> Iterator[None]:
    """While open, the token embedding's output gets NEFTune noise (on the same device as the output)."""
    if noise.kind != "embedding" or not noise.active:
        yield
        return

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():  # evaluation
            return None
        size = 100 * noise.ratio / (output.shape[1] * output.shape[2]) ** 0.5
        uniform = torch.rand(output.shape, generator=generator, device="cpu").to(output)
        return output + (2 * uniform - 1) * size

    handle = embeddings.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
