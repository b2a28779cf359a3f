"""Units of work that a worker does from a context: a structure search, a fixed training, a test evaluation."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..baselines import Applied, apply_method, load_module
from ..structure import VALUE, description_bytes
from ..tasks import Noise
from .classifier import TextClassifier
from .context import Context
from .evaluate import confidence, predict_logits, predict_sets, predicted
from .loop import Training, seed_everything
from .memory import Peak, in_parts_that_fit
from .pool import AnyContext, balance, measured, sources, task_turns
from .protocol import State, head_names, noise_ids, plan, qualities, those_of, trained_arrays
from .trial import search_trial

_MEASURES = ("quality", "quality_perturbed", "retained", "loss", "quality_worst", "tasks")  # of a search's last report


@dataclass(frozen=True)
class Unit:
    """One training: a method with its options under a plan.

    Attributes:
        method: key of ``baselines.METHODS``, or ``search``: a structure search whose own weights are the result.
        label: name of the row in tables, e.g. ``lora`` or ``slat-3f2a...``.
        options: what the method takes (JSON values only); of ``search`` what :func:`.search_trial` takes beside.
        learning_rate, noise_kind, noise_ratio, seed: see :class:`Plan`.
    """

    method: str
    label: str
    learning_rate: float
    seed: int
    noise_kind: str = "none"
    noise_ratio: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """File name of the result."""
        return f"{self.label}_lr{self.learning_rate:g}_seed{self.seed}"

    def apply(self, backbone: nn.Module) -> Applied:
        """Put the method on a backbone."""
        return apply_method(self.method, backbone, {**self.options, "seed": self.seed})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@contextmanager
def _standing(context: AnyContext, unit: Unit) -> Iterator[tuple[list[TextClassifier], Applied]]:
    """A classifier a task with the unit's method on their backbone, seeded; it is bare again afterwards."""
    seed_everything(context.config.seed + unit.seed)
    models = [part.classifier() for part in context.parts]
    applied = unit.apply(models[0].backbone)
    try:
        yield models, applied
    finally:
        applied.undo()


def train_unit(context: AnyContext, unit: Unit) -> tuple[dict[str, Any], State]:
    """Train a method; returns validation measures and the trained weights (adapter and head).

    The result of a search tells its ``structure``, too; with it the unit can be evaluated as ``slat``.

    Raises:
        DivergedError: the loss was not finite.
        OutOfMemoryError: the GPU has no memory for a single text.
    """
    (trained,) = in_parts_that_fit(context.config.training.batch_size, partial(_trained, context, unit))
    return trained


def _trained(context: AnyContext, unit: Unit, parts: int) -> Generator[tuple[dict[str, Any], State]]:
    yield (_search_unit if unit.method == "search" else _fixed_unit)(context, unit, parts)


def _fixed_unit(context: AnyContext, unit: Unit, parts: int) -> tuple[dict[str, Any], State]:
    with _standing(context, unit) as (models, applied):
        noise = Noise(unit.noise_kind, unit.noise_ratio)
        training = plan(context.config, unit.learning_rate, unit.seed, noise, applied.module is None, parts)
        peak, began = Peak(), time.perf_counter()
        controller = applied.controller(training.steps) if applied.controller is not None else None
        for _ in Training(
            sources(context, models),
            applied.module,
            training,
            controller=controller,
            turns=task_turns(context),
            switch=applied.switch,
            balance=balance(context),
            **noise_ids(context),
        ).run():
            pass
        seconds, memory = time.perf_counter() - began, peak.bytes
        result = {
            "validation": measured(models, context, applied.switch),
            "params": applied.params,
            "bytes": applied.bytes,
            "steps": training.steps,
            "seconds": seconds,
            "step_seconds": seconds / training.steps,
            "memory": memory,
        }
        state = trained_arrays(applied.saved(), models)
    return result, state


def _search_unit(context: AnyContext, unit: Unit, parts: int) -> tuple[dict[str, Any], State]:
    seeded = replace(context, config=context.config.model_copy(update={"seed": context.config.seed + unit.seed}))
    sampled = {name: getattr(unit, name) for name in ("learning_rate", "noise_kind", "noise_ratio")}
    peak = Peak()
    *_, last = search_trial(seeded, {**sampled, **unit.options}, [], parts=parts)
    result = {
        "validation": {name: last[name] for name in _MEASURES if name in last},
        "params": last["params"],
        "bytes": VALUE * last["params"] + description_bytes(last["structure"]),
        "steps": last["step"],
        "seconds": last["seconds"],
        "step_seconds": last["seconds"] / last["step"],
        "memory": peak.bytes,
        "structure": last["structure"].to_dict(),
    }
    return result, last["state"]


def evaluate_unit(context: AnyContext, unit: Unit, state: State) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Test quality of trained weights, clean and perturbed, and the seconds that logits take for a clean text.

    Returns:
        The measures, and what they come from: ``labels`` (texts,), and ``outputs`` and ``confidence`` (sets, texts) of
        the clean set and then of the perturbed ones, in their order in the measures. Of several tasks the mean quality,
        the measures of each under ``tasks``, and arrays whose names begin with the number of their task.
    """
    with _standing(context, unit) as (models, applied):
        load_state(models, applied, state)
        if len(models) == 1:
            return _tested(models[0], context.parts[0])
        measures: dict[str, dict[str, Any]] = {}
        predictions: dict[str, np.ndarray] = {}
        for number, (model, part) in enumerate(zip(models, context.parts, strict=True)):
            applied.switch(number)
            found, said = _tested(model, part)
            measures[part.config.task.name] = found
            predictions |= {f"{number}.{name}": values for name, values in said.items()}
    mean = float(np.mean([found["quality"] for found in measures.values()]))
    return {"quality": mean, "tasks": measures}, predictions


def _tested(model: TextClassifier, context: Context) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What :func:`evaluate_unit` says of one task."""
    sets = [context.test, *context.test_perturbed.values()]
    logits = predict_sets(model, sets)
    clean, *perturbed = qualities(context.config.task.metric, sets, logits)
    began = time.perf_counter()
    predict_logits(model, context.test)
    latency = (time.perf_counter() - began) / len(context.test)
    curve = [
        {"kind": kind, "ratio": ratio, "quality": value}
        for (kind, ratio), value in zip(context.test_perturbed, perturbed, strict=True)
    ]
    labels = context.test.labels
    predictions = {
        "labels": np.asarray(labels),
        "outputs": np.stack([predicted(labels, found) for found in logits]),
        "confidence": np.stack([confidence(labels, found) for found in logits]),
    }
    return {"quality": clean, "perturbed": curve, "seconds_per_text": latency}, predictions


def load_state(models: Sequence[TextClassifier], applied: Applied, state: Mapping[str, np.ndarray]) -> None:
    """Put trained weights into the classifiers of all tasks with their method standing."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    applied.load(those_of("adapter.", tensors))
    for prefix, model in zip(head_names(len(models)), models, strict=True):
        load_module(model.head, those_of(f"{prefix}.", tensors))
