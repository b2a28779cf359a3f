"""Labeled text in, padded batches out."""

from .encoding import (
    Batch,
    Encoded,
    check_room,
    check_tokens,
    encode,
    evaluation_batches,
    join,
    training_batches,
)
from .examples import SPLITS, Example, TaskData
from .noise import (
    NOISE_KINDS,
    Noise,
    embedding_noise,
    noisy_labels,
    noisy_tokens,
)
from .perturbation import PERTURBATIONS, perturb, perturb_text
from .prompts import NONE, Prompts, encode_prompts
from .responses import Responses, encode_responses
from .sources import load_task
from .template import Template, Words

__all__ = [
    "NOISE_KINDS",
    "NONE",
    "PERTURBATIONS",
    "SPLITS",
    "Batch",
    "Encoded",
    "Example",
    "Noise",
    "Prompts",
    "Responses",
    "TaskData",
    "Template",
    "Words",
    "check_room",
    "check_tokens",
    "embedding_noise",
    "encode",
    "encode_prompts",
    "encode_responses",
    "evaluation_batches",
    "join",
    "load_task",
    "noisy_labels",
    "noisy_tokens",
    "perturb",
    "perturb_text",
    "training_batches",
]
