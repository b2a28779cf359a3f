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
from .memory import in_micro_batches_that_fit
from .protocol import validation_measures
from .trial import search_trial

#: fewest and most measured steps: of a trial, which needs some for each of its phases, and of a training
_TRIAL_STEPS, _JOB_STEPS = (8, 20), (2, 5)
_SECONDS_PER_STEP = 1.5  # where steps take longer, fewer are measured


@dataclass(frozen=True)
class Pace:
    """Seconds that a training takes.

    Attributes:
        begin: before the first step.
        step: of one step.
        validation: of one measurement on clean and perturbed validation text.
        weights: bytes of the stored weights.
    """

    begin: float
    step: float
    validation: float
    weights: int = 0

    def seconds(self, steps: float, reports: int = 1) -> float:
        """Return the estimate for a training with that many steps and reports."""
        return self.begin + steps * self.step + reports * self.validation


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with ``count`` threads in the block."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def validation_seconds(context: Context) -> float:
    """Return the seconds of measuring untrained models on validation."""
    models = context.models()
    start = time.perf_counter()
    validation_measures(context, models)
    return time.perf_counter() - start


def trial_pace(context: Context, sampled: Mapping[str, Any], validation: float) -> Pace:
    """Measure a trial of few steps, in which each phase has the same fraction of the steps as in a full one."""
    short_context = _shortened(context, *_TRIAL_STEPS, validation)
    start = time.perf_counter()
    settings = short_context.config.training
    (report,) = in_micro_batches_that_fit(
        settings.batch_size,
        lambda accumulation: search_trial(short_context, dict(sampled), (), accumulation=accumulation),
        settings.accumulation,
    )
    total = time.perf_counter() - start
    steps = short_context.config.training.steps
    training = max(0.0, report["seconds"] - report["measuring_seconds"])
    return Pace(max(0.0, total - report["seconds"]), training / steps, validation)


def job_pace(context: Context, job: TrainingJob, validation: float) -> Pace:
    """Measure the training of a method for few steps.

    Raises:
        DivergedError: the loss was not finite.
        OutOfMemoryError: a single text does not fit into the GPU's memory.
    """
    short_context = _shortened(context, *_JOB_STEPS, validation)
    start = time.perf_counter()
    result, weights = train_job(short_context, job)
    setup = time.perf_counter() - start - result.seconds - validation
    size = sum(array.nbytes for array in weights.values())
    return Pace(max(0.0, setup), result.seconds / short_context.config.training.steps, validation, size)


def _shortened(context: Context, min_steps: int, max_steps: int, validation: float) -> Context:
    """Return a context with so few steps that they do not take long, estimated from the seconds of a validation."""
    texts = 2 * sum(len(task.validation) for task in context.tasks)  # clean and perturbed
    training = context.config.training
    step_seconds = PASSES_OF_STEP * training.batch_size / texts * validation
    steps = max(min_steps, min(max_steps, int(max_steps * _SECONDS_PER_STEP / max(step_seconds, 1e-9))))
    short_training = training.model_copy(update={"steps": min(training.steps, steps)})
    return replace(context, config=context.config.model_copy(update={"training": short_training}))
