"""Classification by a causal language model without a head: the label whose words are most probable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..tasks import NONE, Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = tuple[int, ...]


class LabelWords(nn.Module):
    """Scores of the words of each label behind a prompt.

    The score of a label is ``1 / n * sum_t log p(w_t | prompt, w_<t)`` over the ``n`` tokens of its words, so that
    longer words are no less probable (length normalization, as in Brown et al. 2020, arXiv 2005.14165, section 2.4).

    Args:
        backbone: a causal language model.
        words: token ids of the words of each label.

    Attributes:
        outputs: number of labels.
        head: without parameters; all that is trained is the adapter.
    """

    _targets: Tensor

    def __init__(self, backbone: PreTrainedModel, words: Sequence[Ids]):
        super().__init__()
        self.backbone: PreTrainedModel = backbone
        self.words = tuple(map(tuple, words))
        self.outputs = len(words)
        self.head = nn.Identity()
        longest = max(map(len, self.words))
        padded = torch.tensor([[*word, *[NONE] * (longest - len(word))] for word in self.words])
        self.register_buffer("_targets", padded, persistent=False)

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @cached_property
    def _stems(self) -> dict[Ids, list[int]]:
        """Return the continuations of a prompt that score all labels: words without their last token, and the
        numbers of the labels that each serves. Labels of one token share the bare prompt."""
        stems = sorted({word[:-1] for word in self.words}, key=len, reverse=True)
        longest = [stem for i, stem in enumerate(stems) if not any(other[: len(stem)] == stem for other in stems[:i])]
        served: dict[Ids, list[int]] = {stem: [] for stem in longest}
        for label, word in enumerate(self.words):
            served[next(stem for stem in longest if stem[: len(word) - 1] == word[:-1])].append(label)
        return served

    def forward(self, batch: Batch) -> Tensor:
        """Scores (texts, labels) of prompts that are padded on the left, in nats a token; at most 0."""
        scores: list[Tensor] = [torch.empty(0)] * self.outputs
        for stem, labels in self._stems.items():
            behind = torch.tensor(stem, dtype=torch.long, device=self.device).expand(len(batch["input_ids"]), -1)
            logits = next_tokens(self.backbone, batch, behind, torch.ones_like(behind))
            total = logits.logsumexp(dim=-1)  # (texts, 1 + stem)
            for label in labels:
                word = torch.tensor(self.words[label], device=logits.device)
                places = torch.arange(len(word), device=logits.device)
                scores[label] = (logits[:, places, word] - total[:, places]).mean(dim=1)
        return torch.stack(scores, dim=1)

    def loss(self, batch: Batch) -> Tensor:
        """Mean negative score of the right labels, a scalar: cross-entropy of the tokens of their words."""
        targets = self._targets[batch["labels"]]
        there = targets >= 0
        scores, _ = token_scores(self.backbone, batch, targets)
        return -((scores * there).sum(dim=1) / there.sum(dim=1)).mean()


def token_scores(model: PreTrainedModel, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability in nats, and the most probable token, at each place behind prompts; both (texts, longest).

    Args:
        targets: token ids (texts, longest), filled up with -1, where scores mean nothing.
    """
    behind, there = targets.clamp(min=0), targets >= 0
    logits = next_tokens(model, batch, behind[:, :-1], there[:, :-1].long())
    chosen = logits.gather(2, behind.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(dim=-1), logits.argmax(dim=-1)


def next_tokens(model: PreTrainedModel, batch: Batch, behind: Tensor, mask: Tensor) -> Tensor:
    """Logits (texts, 1 + n, vocabulary), in float32, of what follows the prompts and each of the tokens behind them.

    Args:
        batch: prompts, padded on the left.
        behind: token ids (texts, n), padded on the right.
        mask: which of these are there, (texts, n).
    """
    attention = torch.cat([batch["attention_mask"], mask], dim=1)
    keep = behind.shape[1] + 1
    inputs = {
        "input_ids": torch.cat([batch["input_ids"], behind], dim=1),
        "attention_mask": attention,
        "position_ids": (attention.cumsum(dim=1) - 1).clamp(min=0),  # models that learn positions count the padding
        "logits_to_keep": keep,  # the logits of all positions are the largest tensor of a step
        "use_cache": False,
    }
    takes = _arguments(type(model).forward)
    logits = model(**{name: value for name, value in inputs.items() if name in takes}).logits
    return logits[:, -keep:].float()


@cache
def _arguments(forward: Callable[..., Any]) -> frozenset[str]:
    """Names of the arguments of a function."""
    return frozenset(inspect.signature(forward).parameters)
