"""Estimate the duration of a training from a few steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..records import TrainingJob
from .context import Context
from .jobs import PASSES_OF_STEP, train_job
from .memory import in_parts_that_fit
from .protocol import validation_measures
from .trial import search_trial

#: fewest and most steps that are measured: of a trial, which needs some for each of its phases, and of a training
_TRIAL_STEPS, _JOB_STEPS = (8, 20), (2, 5)
_SECONDS = 1.5  # for each of the most steps; where they take longer there are fewer


@dataclass(frozen=True)
class Pace:
    """Seconds that a training takes.

    Attributes:
        begin: before its first step.
        step: of one step.
        validation: of measuring it once, on clean and perturbed validation text.
        weights: bytes that are kept of it.
    """

    begin: float
    step: float
    validation: float
    weights: int = 0

    def seconds(self, steps: float, reports: int = 1) -> float:
        """Estimate a training with that many reports."""
        return self.begin + steps * self.step + reports * self.validation


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def validation_seconds(context: Context) -> float:
    """Measure untrained models on validation."""
    models = context.models()
    began = time.perf_counter()
    validation_measures(context, models)
    return time.perf_counter() - began


def trial_pace(context: Context, sampled: Mapping[str, Any], validation: float) -> Pace:
    """Train a trial of few steps: all its phases, in the shares that a whole one gives them."""
    short = _of_steps(context, *_TRIAL_STEPS, validation)
    began = time.perf_counter()
    plan = short.config.training
    (report,) = in_parts_that_fit(
        plan.batch_size, lambda parts: search_trial(short, dict(sampled), (), parts=parts), plan.accumulation
    )
    whole = time.perf_counter() - began
    steps = short.config.training.steps
    training = max(0.0, report["seconds"] - report["measuring_seconds"])
    return Pace(max(0.0, whole - report["seconds"]), training / steps, validation)


def job_pace(context: Context, job: TrainingJob, validation: float) -> Pace:
    """Train a method for few steps.

    Raises:
        DivergedError: the loss was not finite.
        OutOfMemoryError: the GPU has no memory for a single text.
    """
    short = _of_steps(context, *_JOB_STEPS, validation)
    began = time.perf_counter()
    trained, weights = train_job(short, job)
    begin = time.perf_counter() - began - trained.seconds - validation
    size = sum(array.nbytes for array in weights.values())
    return Pace(max(0.0, begin), trained.seconds / short.config.training.steps, validation, size)


def _of_steps(context: Context, least: int, most: int, validation: float) -> Context:
    """Limit the steps of a context to as many as do not take long, by the seconds of a validation."""
    texts = 2 * sum(len(task.validation) for task in context.tasks)  # clean and perturbed
    training = context.config.training
    step = PASSES_OF_STEP * training.batch_size / texts * validation
    steps = max(least, min(most, int(most * _SECONDS / max(step, 1e-9))))
    shorter = training.model_copy(update={"steps": min(training.steps, steps)})
    return replace(context, config=context.config.model_copy(update={"training": shorter}))
