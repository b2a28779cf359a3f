"""A causal language model trained on responses, and the quality of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..tasks import Batch
from .label_words import token_scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOST_LOGITS = 2**27  # of an evaluation at a time: 512 MB in float32
_WORD = re.compile(r"\w+")


class ResponseModel(nn.Module):
    """Log-probabilities of responses, and responses of its own.

    Args:
        backbone: a causal language model.
        tokenizer: its own.
        metric: quality of a response, a key of :data:`METRICS` or ``token_accuracy``.
        max_new_tokens: most tokens of a response that is generated.
        stop: token ids at which such a response is over, beside the tokenizer's end of text.

    Attributes:
        outputs: numbers for each text that :meth:`forward` returns.
        head: without parameters; all that is trained is the adapter.
    """

    outputs = 3

    def __init__(
        self, backbone: PreTrainedModel, tokenizer: Any, metric: str, max_new_tokens: int, stop: Sequence[int] = ()
    ):
        super().__init__()
        self.stop = tuple(stop)
        self.backbone: PreTrainedModel = backbone
        self.tokenizer = tokenizer
        self.metric, self.max_new_tokens = metric, max_new_tokens
        self.head = nn.Identity()

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    def forward(self, batch: Batch) -> Tensor:
        """Return (texts, 3): the quality of the model's response, the log-probability of the right one in nats, and how
        many tokens that has. Texts go through the model in as many parts as keep the logits small."""
        longest, vocabulary = batch["responses"].shape[1], self.backbone.config.get_text_config().vocab_size
        rows = max(1, _MOST_LOGITS // (longest * vocabulary))
        parts = [
            {name: values[start : start + rows] for name, values in batch.items()}
            for start in range(0, len(batch["labels"]), rows)
        ]
        return torch.cat([self._values(part) for part in parts])

    def _values(self, batch: Batch) -> Tensor:
        targets = batch["responses"]
        scores, likely = token_scores(self.backbone, batch, targets)
        there = targets >= 0
        count = there.sum(dim=1)
        if self.metric in METRICS:
            right = self._texts(_rows(targets))
            measure = METRICS[self.metric]
            values = [measure(*pair) for pair in zip(right, self.generate(batch), strict=True)]
            quality = torch.tensor(values, device=scores.device)
        else:
            quality = ((likely == targets) & there).sum(dim=1) / count
        return torch.stack([quality, (scores * there).sum(dim=1), count], dim=1)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the tokens of the responses, in nats, a scalar."""
        there = batch["responses"] >= 0
        scores, _ = token_scores(self.backbone, batch, batch["responses"])
        return -(scores * there).sum() / there.sum()

    @torch.no_grad()
    def generate(self, batch: Batch) -> list[str]:
        """Return the response of each prompt: the most probable token each time, up to one that ends it.

        What a model's own ``generation_config`` asks for beside, such as a penalty on repeated tokens, is left out.
        """
        from transformers import GenerationConfig, StoppingCriteriaList  # on use: they take long to import

        prompts = {name: batch[name] for name in ("input_ids", "attention_mask")}
        before = batch["input_ids"].shape[1]
        own, self.backbone.generation_config = self.backbone.generation_config, GenerationConfig()
        try:
            ids = self.backbone.generate(
                **prompts,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                num_beams=1,
                use_cache=True,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                stopping_criteria=StoppingCriteriaList([partial(_is_over, stop=self.stop, before=before)]),
            )
        finally:
            self.backbone.generation_config = own
        return [text.strip() for text in self._texts(ids[:, before:].tolist())]

    def _texts(self, rows: list[list[int]]) -> list[str]:
        """Decode responses up to what ends them."""
        return self.tokenizer.batch_decode([until(row, self.stop) for row in rows], skip_special_tokens=True)


def until(tokens: list[int], stop: Sequence[int]) -> list[int]:
    """Return the tokens before the first place where those of ``stop`` follow one another."""
    size = len(stop)
    over = (place for place in range(len(tokens)) if size and tokens[place : place + size] == [*stop])
    return tokens[: next(over, len(tokens))]


def _is_over(ids: Tensor, scores: Any, stop: Sequence[int], before: int, **_: Any) -> Tensor:
    """Whether each row of prompt and response ends with ``stop``, (rows,) of bool."""
    if not stop or ids.shape[1] - before < len(stop):
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    return (ids[:, -len(stop) :] == torch.tensor(stop, device=ids.device)).all(dim=1)


def _rows(targets: Tensor) -> list[list[int]]:
    return [[token for token in row if token >= 0] for row in targets.tolist()]


def exact_match(right: str, response: str) -> float:
    """1 where the words are the same, whatever the white space between them; else 0."""
    return float(right.split() == response.split())


def rouge_l(right: str, response: str) -> float:
    """F1 of the longest common subsequence of words, in small letters (Lin 2004, "ROUGE: a package for automatic
    evaluation of summaries", equations 2 to 4 with beta 1)."""
    wanted, got = (_WORD.findall(text.lower()) for text in (right, response))
    if not wanted or not got:
        return float(wanted == got)
    common = _common(wanted, got)
    return 2 * common / (len(wanted) + len(got))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for place, against in enumerate(other, 1):
            before, row[place] = row[place], before + 1 if word == against else max(row[place], row[place - 1])
    return row[-1]


#: metrics of responses that have to be generated
METRICS = {"exact_match": exact_match, "rouge_l": rouge_l}
