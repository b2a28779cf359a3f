"""Jobs of a worker: a structure search, a fixed training, a test evaluation."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from ..baselines import Applied, apply_method, load_module
from ..models.task_model import TaskModel
from ..records import (
    Measures,
    PerturbedQuality,
    TaskTest,
    Tested,
    Trained,
    TrainingJob,
)
from ..structure import VALUE, description_bytes
from ..tasks import Noise
from .context import Context, TaskContext
from .evaluate import (
    confidence,
    loss,
    predict_logits,
    predict_sets,
    predicted,
    seconds_of_one,
)
from .loop import seed_everything
from .memory import Peak, in_micro_batches_that_fit
from .protocol import (
    State,
    head_names,
    make_training,
    plan,
    qualities,
    strip_prefix,
    trained_arrays,
    validation_measures,
)
from .trial import search_trial

#: cost of an optimizer step, in forward passes of an evaluation on as many texts
PASSES_OF_STEP = 3


def test_steps(context: Context) -> float:
    """Return the optimizer steps that take about as long as testing one model, clean and perturbed."""
    texts = sum(len(task.test) + sum(map(len, task.test_perturbed.values())) for task in context.tasks)
    return texts / (PASSES_OF_STEP * context.config.training.batch_size)


@contextmanager
def _applied(context: Context, job: TrainingJob) -> Iterator[tuple[list[TaskModel], Applied]]:
    """Yield the model of each task with the job's method on their backbone, seeded; undo the method afterwards."""
    seed_everything(context.config.seed + job.seed)
    models = context.models()
    applied = apply_job(job, models[0].backbone)
    try:
        yield models, applied
    finally:
        applied.undo()


def apply_job(job: TrainingJob, backbone: nn.Module) -> Applied:
    """Put the method of a training on a backbone."""
    return apply_method(job.method, backbone, {**job.options, "seed": job.seed})


def train_job(context: Context, job: TrainingJob) -> tuple[Trained, State]:
    """Train a method; return its result and the trained weights (adapter and head).

    The result of a search also has its ``structure``, with which the job can be evaluated as ``slat``.

    Raises:
        DivergedError: the loss was not finite.
        OutOfMemoryError: a single text does not fit into the GPU's memory.
    """
    training = context.config.training
    (outcome,) = in_micro_batches_that_fit(training.batch_size, partial(_attempt, context, job), training.accumulation)
    return outcome


def _attempt(context: Context, job: TrainingJob, accumulation: int) -> Generator[tuple[Trained, State]]:
    """Yield the result of a job once, in the form that :func:`.in_micro_batches_that_fit` takes."""
    yield (_search_job if job.method == "search" else _fixed_job)(context, job, accumulation)


def _fixed_job(context: Context, job: TrainingJob, accumulation: int) -> tuple[Trained, State]:
    with _applied(context, job) as (models, applied):
        noise = Noise(job.noise_kind, job.noise_ratio)
        training = plan(context.config, job.learning_rate, job.seed, noise, applied.module is None, accumulation)
        peak, start = Peak(), time.perf_counter()
        controller = applied.controller(training.steps) if applied.controller is not None else None
        for _ in make_training(context, models, applied.module, training, controller, applied.switch).run():
            pass
        seconds, memory = time.perf_counter() - start, peak.bytes
        result = Trained(
            job=job,
            validation=Measures(**validation_measures(context, models, applied.switch)),
            params=applied.params,
            bytes=applied.bytes,
            steps=training.steps,
            seconds=seconds,
            step_seconds=seconds / training.steps,
            memory=memory,
        )
        state = trained_arrays(applied.saved(), models)
    return result, state


def _search_job(context: Context, job: TrainingJob, accumulation: int) -> tuple[Trained, State]:
    seeded_context = replace(context, config=context.config.model_copy(update={"seed": context.config.seed + job.seed}))
    sampled = {name: getattr(job, name) for name in ("learning_rate", "noise_kind", "noise_ratio")}
    context.backbone()  # on its device before memory is measured
    peak = Peak()
    *_, report = search_trial(seeded_context, {**sampled, **job.options}, [], accumulation=accumulation)
    seconds = report["seconds"] - report["measuring_seconds"]
    result = Trained(
        job=job,
        validation=Measures(**{name: report[name] for name in Measures.model_fields if name in report}),
        params=report["params"],
        bytes=VALUE * report["params"] + description_bytes(report["structure"]),
        steps=report["step"],
        seconds=seconds,
        step_seconds=seconds / report["step"],
        memory=peak.bytes,
        structure=report["structure"].to_dict(),
    )
    return result, report["state"]


def evaluate_job(context: Context, job: TrainingJob, state: State) -> tuple[Tested, dict[str, np.ndarray]]:
    """Measure the test quality of trained weights, clean and perturbed, and the seconds that logits of a text take.

    Returns:
        The measures, and the predictions behind them: ``labels`` (texts,), and ``outputs`` and ``confidence``
        (sets, texts) of the clean set and then of the perturbed ones, in their order in the measures. Names of the
        arrays begin with the number of their task.
    """
    tests: dict[str, TaskTest] = {}
    predictions: dict[str, np.ndarray] = {}
    with _applied(context, job) as (models, applied):
        load_state(models, applied, state)
        for number, (model, task) in enumerate(zip(models, context.tasks, strict=True)):
            applied.switch(number)
            test, arrays = _test(model, task)
            tests[task.config.name] = test
            predictions |= {f"{number}.{name}": values for name, values in arrays.items()}
    return Tested(quality=float(np.mean([test.quality for test in tests.values()])), tasks=tests), predictions


def _test(model: TaskModel, context: TaskContext) -> tuple[TaskTest, dict[str, np.ndarray]]:
    """Evaluate on the test texts of one task; see :func:`evaluate_job`."""
    sets = [context.test, *context.test_perturbed.values()]
    logits = predict_sets(model, sets)
    clean, *perturbed = qualities(context.config.metric, sets, logits)
    start = time.perf_counter()
    predict_logits(model, context.test)
    seconds_per_text = (time.perf_counter() - start) / len(context.test)
    single_text_seconds = seconds_of_one(model, context.test)
    curve = tuple(
        PerturbedQuality(kind=kind, ratio=ratio, quality=value)
        for (kind, ratio), value in zip(context.test_perturbed, perturbed, strict=True)
    )
    labels = context.test.labels
    predictions = {
        "labels": np.asarray(labels),
        "outputs": np.stack([predicted(labels, outputs) for outputs in logits]),
        "confidence": np.stack([confidence(labels, outputs) for outputs in logits]),
    }
    test_loss = loss(context.test, logits[0])
    test = TaskTest(
        quality=clean,
        loss=test_loss,
        perturbed=curve,
        seconds_per_text=seconds_per_text,
        seconds_of_one=single_text_seconds,
    )
    return test, predictions


def load_state(models: Sequence[TaskModel], applied: Applied, state: Mapping[str, np.ndarray]) -> None:
    """Load trained weights into the applied method and into the heads of ``models``, none or all."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    applied.load(strip_prefix("adapter.", tensors))
    for prefix, model in zip(head_names(len(models)), models, strict=True):
        load_module(model.head, strip_prefix(f"{prefix}.", tensors))
