"""Labelled text in, padded batches out."""

from .encoding import Batch, Encoded, encode, evaluation_batches, held_out, join, training_batches
from .noise import NOISE_KINDS, Noise, embedding_noise, noisy_labels, noisy_tokens
from .perturbation import PERTURBATIONS, perturb, perturb_text
from .sources import EMBEDDED, SPLITS, Example, TaskData, load_task

__all__ = [
    "EMBEDDED",
    "NOISE_KINDS",
    "PERTURBATIONS",
    "SPLITS",
    "Batch",
    "Encoded",
    "Example",
    "Noise",
    "TaskData",
    "embedding_noise",
    "encode",
    "evaluation_batches",
    "held_out",
    "join",
    "load_task",
    "noisy_labels",
    "noisy_tokens",
    "perturb",
    "perturb_text",
    "training_batches",
]
