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
    """Scores of the words of each label as continuations of a prompt.

    The score of a label is ``1 / n * sum_t log p(w_t | prompt, w_<t)`` over the ``n`` tokens of its words, so that
    longer words are no less probable (length normalization, as in Brown et al. 2020, arXiv 2005.14165, section 2.4).

    Args:
        backbone: a causal language model.
        words: token ids of the words of each label.

    Attributes:
        outputs: number of labels.
        head: module without parameters, as only the adapter is trained.
    """

    _targets: Tensor

    def __init__(self, backbone: PreTrainedModel, words: Sequence[Ids]):
        super().__init__()
        self.backbone: PreTrainedModel = backbone
        self.words = tuple(map(tuple, words))
        self.outputs = len(words)
        self.head = nn.Identity()
        max_length = max(map(len, self.words))
        targets = torch.tensor([[*word, *[NONE] * (max_length - len(word))] for word in self.words])
        self.register_buffer("_targets", targets, persistent=False)

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @cached_property
    def _stems(self) -> dict[Ids, list[int]]:
        """Continuations of a prompt by which all labels are scored, each with the numbers of its labels.

        A continuation is the words of a label without their last token. Labels whose continuation is the beginning of a
        longer one share it, as labels of one token do.
        """
        candidates = sorted({word[:-1] for word in self.words}, key=len, reverse=True)
        stems = [
            stem
            for i, stem in enumerate(candidates)
            if not any(longer[: len(stem)] == stem for longer in candidates[:i])
        ]
        labels_by_stem: dict[Ids, list[int]] = {stem: [] for stem in stems}
        for label, word in enumerate(self.words):
            labels_by_stem[next(stem for stem in stems if stem[: len(word) - 1] == word[:-1])].append(label)
        return labels_by_stem

    def forward(self, batch: Batch) -> Tensor:
        """Return scores (texts, labels) of prompts that are padded on the left, in nats per token; at most 0."""
        scores: list[Tensor] = [torch.empty(0)] * self.outputs
        for stem, labels in self._stems.items():
            stem_ids = torch.tensor(stem, dtype=torch.long, device=self.device).expand(len(batch["input_ids"]), -1)
            logits = next_tokens(self.backbone, batch, stem_ids, torch.ones_like(stem_ids))
            normalizers = logits.logsumexp(dim=-1)  # (texts, 1 + stem)
            for label in labels:
                word_ids = torch.tensor(self.words[label], device=logits.device)
                positions = torch.arange(len(word_ids), device=logits.device)
                scores[label] = (logits[:, positions, word_ids] - normalizers[:, positions]).mean(dim=1)
        return torch.stack(scores, dim=1)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean negative score of the true labels, a scalar: the cross-entropy of their tokens."""
        targets = self._targets[batch["labels"]]
        mask = targets >= 0
        scores, _ = token_scores(self.backbone, batch, targets)
        return -((scores * mask).sum(dim=1) / mask.sum(dim=1)).mean()


def token_scores(model: PreTrainedModel, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities in nats and the most probable tokens at the positions after prompts, (texts, longest).

    Args:
        targets: token ids (texts, longest), padded with -1, where scores mean nothing.
    """
    ids, mask = targets.clamp(min=0), targets >= 0
    logits = next_tokens(model, batch, ids[:, :-1], mask[:, :-1].long())
    target_logits = logits.gather(2, ids.unsqueeze(-1)).squeeze(-1)
    return target_logits - logits.logsumexp(dim=-1), logits.argmax(dim=-1)


def next_tokens(model: PreTrainedModel, batch: Batch, continuation: Tensor, mask: Tensor) -> Tensor:
    """Return float32 logits (texts, 1 + n, vocabulary) of the tokens after a prompt and after each continuing token.

    Args:
        batch: prompts, padded on the left.
        continuation: token ids (texts, n), padded on the right.
        mask: 1 for tokens of ``continuation`` and 0 for padding, (texts, n).
    """
    attention = torch.cat([batch["attention_mask"], mask], dim=1)
    num_logits = continuation.shape[1] + 1
    inputs = {
        "input_ids": torch.cat([batch["input_ids"], continuation], dim=1),
        "attention_mask": attention,
        "position_ids": (attention.cumsum(dim=1) - 1).clamp(
            min=0
        ),  # as models with learned positions would count the padding
        "logits_to_keep": num_logits,  # the logits of all positions are the largest tensor of a step
        "use_cache": False,
    }
    argument_names = _argument_names(type(model).forward)
    logits = model(**{name: value for name, value in inputs.items() if name in argument_names}).logits
    return logits[:, -num_logits:].float()


@cache
def _argument_names(forward: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the arguments of a function."""
    return frozenset(inspect.signature(forward).parameters)
