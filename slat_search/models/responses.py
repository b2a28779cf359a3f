"""A causal language model that is trained on responses, and the quality of the responses that it generates."""

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

_MOST_LOGITS = 2**27  # of one part of an evaluation: 512 MB in float32
_WORD = re.compile(r"\w+")


class ResponseModel(nn.Module):
    """Log-probabilities of responses, and generated responses.

    Args:
        backbone: a causal language model.
        tokenizer: tokenizer of the backbone.
        metric: quality of a response, a key of :data:`METRICS` or ``token_accuracy``.
        max_new_tokens: largest number of tokens of a generated response.
        stop: token ids that end a generated response, as the tokenizer's end of text does.

    Attributes:
        outputs: number of values that :meth:`forward` returns for each text.
        head: module without parameters, as only the adapter is trained.
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
        """Return (texts, 3): the quality of the generated response, and the log-probability in nats and the number of
        tokens of the reference response. Batches are split into parts so that the logits stay small."""
        longest, vocabulary = batch["responses"].shape[1], self.backbone.config.get_text_config().vocab_size
        rows = max(1, _MOST_LOGITS // (longest * vocabulary))
        parts = [
            {name: values[start : start + rows] for name, values in batch.items()}
            for start in range(0, len(batch["labels"]), rows)
        ]
        return torch.cat([self._evaluate(part) for part in parts])

    def _evaluate(self, batch: Batch) -> Tensor:
        targets = batch["responses"]
        scores, predictions = token_scores(self.backbone, batch, targets)
        mask = targets >= 0
        count = mask.sum(dim=1)
        if self.metric in METRICS:
            references = self._decode(_token_lists(targets))
            metric = METRICS[self.metric]
            values = [metric(*pair) for pair in zip(references, self.generate(batch), strict=True)]
            quality = torch.tensor(values, device=scores.device)
        else:
            quality = ((predictions == targets) & mask).sum(dim=1) / count
        return torch.stack([quality, (scores * mask).sum(dim=1), count], dim=1)

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the tokens of the responses, in nats, a scalar."""
        mask = batch["responses"] >= 0
        scores, _ = token_scores(self.backbone, batch, batch["responses"])
        return -(scores * mask).sum() / mask.sum()

    @torch.no_grad()
    def generate(self, batch: Batch) -> list[str]:
        """Return the response to each prompt: always the most probable token, until the response ends.

        Further settings of the model's ``generation_config``, such as a penalty on repeated tokens, are ignored.
        """
        from transformers import GenerationConfig, StoppingCriteriaList  # imported on use, as this takes long

        prompts = {name: batch[name] for name in ("input_ids", "attention_mask")}
        prompt_length = batch["input_ids"].shape[1]
        generation_config, self.backbone.generation_config = self.backbone.generation_config, GenerationConfig()
        try:
            ids = self.backbone.generate(
                **prompts,
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                num_beams=1,
                use_cache=True,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=self.tokenizer.eos_token_id,
                stopping_criteria=StoppingCriteriaList(
                    [partial(_ends_with_stop, stop=self.stop, prompt_length=prompt_length)]
                ),
            )
        finally:
            self.backbone.generation_config = generation_config
        return [text.strip() for text in self._decode(ids[:, prompt_length:].tolist())]

    def _decode(self, rows: list[list[int]]) -> list[str]:
        """Decode responses up to the stop tokens."""
        return self.tokenizer.batch_decode([until(row, self.stop) for row in rows], skip_special_tokens=True)


def until(tokens: list[int], stop: Sequence[int]) -> list[int]:
    """Return the tokens before the first occurrence of the sequence ``stop``."""
    size = len(stop)
    ends = (position for position in range(len(tokens)) if size and tokens[position : position + size] == [*stop])
    return tokens[: next(ends, len(tokens))]


def _ends_with_stop(ids: Tensor, scores: Any, stop: Sequence[int], prompt_length: int, **_: Any) -> Tensor:
    """Return whether each row of prompt and response ends with ``stop``, bool (rows,)."""
    if not stop or ids.shape[1] - prompt_length < len(stop):
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    return (ids[:, -len(stop) :] == torch.tensor(stop, device=ids.device)).all(dim=1)


def _token_lists(targets: Tensor) -> list[list[int]]:
    return [[token for token in row if token >= 0] for row in targets.tolist()]


def exact_match(reference: str, response: str) -> float:
    """Return 1 if the words are the same, whatever the white space between them, and else 0."""
    return float(reference.split() == response.split())


def rouge_l(reference: str, response: str) -> float:
    """Return the F1 of the longest common subsequence of lower-case words (Lin 2004, "ROUGE: a package for automatic
    evaluation of summaries", equations 2 to 4 with beta 1)."""
    reference_words, response_words = (_WORD.findall(text.lower()) for text in (reference, response))
    if not reference_words or not response_words:
        return float(reference_words == response_words)
    length = _common_length(reference_words, response_words)
    return 2 * length / (len(reference_words) + len(response_words))


def _common_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other_word in enumerate(second, 1):
            diagonal, row[column] = (
                row[column],
                diagonal + 1 if word == other_word else max(row[column], row[column - 1]),
            )
    return row[-1]


#: metrics of generated responses
METRICS = {"exact_match": exact_match, "rouge_l": rouge_l}
