"""Noise in training: tokens, labels or embeddings, at an injection ratio. Evaluation never sees it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from .encoding import Batch, Texts
from .responses import Responses

NOISE_KINDS = ("none", "mask", "replace", "drop", "label", "embedding", "mixed")
_TOKEN_KINDS = ("mask", "replace", "drop")


@dataclass(frozen=True)
class Noise:
    """Kind and injection ratio (0 to 1).

    * ``mask``, ``replace``, ``drop``: that share of the ordinary tokens becomes the mask token, a random token of the
      training text, or invisible to attention.
    * ``label``: that share of the training labels is moved to another class, once for all epochs; in a regression
      they are shuffled among their rows.
    * ``embedding``: uniform noise on token embeddings as in NEFTune (Jain et al. 2023, arXiv 2310.05914), of magnitude
      ``100 * ratio / sqrt(length * width)``; their alpha 5 to 15 is ratio 0.05 to 0.15.
    * ``mixed``: all of them, each of the three parts (tokens, labels, embeddings) at a third of the ratio; a token that
      is hit is masked, replaced or dropped with the same chance.
    """

    kind: str = "none"
    ratio: float = 0.0

    @property
    def tokens(self) -> float:
        """Share of ordinary tokens that are masked, replaced or dropped."""
        return self._share(*_TOKEN_KINDS)

    @property
    def labels(self) -> float:
        """Share of labels that are moved to another class, or shuffled."""
        return self._share("label")

    @property
    def embeddings(self) -> float:
        """Ratio of the noise on embeddings."""
        return self._share("embedding")

    def _share(self, *kinds: str) -> float:
        return self.ratio if self.kind in kinds else self.ratio / 3 if self.kind == "mixed" else 0.0


def noisy_labels(data: Texts, noise: Noise, classes: int, seed: int) -> Texts:
    """Return ``data`` with a share of its labels moved to another class, uniformly; numbers and responses are shuffled
    among their rows."""
    if not noise.labels:
        return data
    rng = np.random.default_rng([seed, 1])
    is_noisy = rng.random(len(data)) < noise.labels
    if isinstance(data, Responses):
        rows = np.arange(len(data))
        rows[is_noisy] = rng.permutation(rows[is_noisy])
        return data.answered_by(rows)
    if data.labels.dtype.kind == "f":
        labels = data.labels.copy()
        labels[is_noisy] = rng.permutation(labels[is_noisy])
        return replace(data, labels=labels)
    shift = rng.integers(1, classes, len(data))
    return replace(data, labels=np.where(is_noisy, (data.labels + shift) % classes, data.labels))


def noisy_tokens(
    batch: Batch, noise: Noise, special: Collection[int], mask_id: int, vocabulary: Tensor, generator: torch.Generator
) -> Batch:
    """Return ``batch`` with token noise; special tokens stay, and so do those outside of ``own`` if the batch has it.

    Args:
        vocabulary: token ids (n,) that occur in the training text, from which replacements are drawn.
        generator: CPU generator of all random choices.
    """
    if not noise.tokens:
        return batch
    ids = batch["input_ids"]
    ordinary = batch["attention_mask"].bool() & ~torch.isin(ids, torch.tensor(sorted(special)))
    ordinary = ordinary & batch.get("own", ordinary)
    is_noisy = ordinary & (torch.rand(ids.shape, generator=generator) < noise.tokens)
    kinds = _TOKEN_KINDS if noise.kind == "mixed" else (noise.kind,)
    kind_ids = torch.randint(len(kinds), ids.shape, generator=generator) if len(kinds) > 1 else torch.zeros_like(ids)
    for number, kind in enumerate(kinds):
        mask = is_noisy & (kind_ids == number)
        if kind == "drop":
            batch = {**batch, "attention_mask": batch["attention_mask"] * ~mask}
        elif kind == "mask":
            batch = {**batch, "input_ids": torch.where(mask, mask_id, batch["input_ids"])}
        else:
            random_ids = vocabulary[torch.randint(len(vocabulary), ids.shape, generator=generator)]
            batch = {**batch, "input_ids": torch.where(mask, random_ids, batch["input_ids"])}
    return batch


@contextmanager
def embedding_noise(embeddings: nn.Module, noise: Noise, generator: torch.Generator) -> Iterator[None]:
    """Add NEFTune noise to the output of the token embeddings, on their device, within the block."""
    if not noise.embeddings:
        yield
        return

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not torch.is_grad_enabled():  # evaluation
            return None
        magnitude = 100 * noise.embeddings / (output.shape[1] * output.shape[2]) ** 0.5
        uniform = torch.rand(output.shape, generator=generator, device="cpu").to(output)
        return output + (2 * uniform - 1) * magnitude

    handle = embeddings.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
