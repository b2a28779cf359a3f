"""Units of work that a worker does from a context: a structure search, a fixed training, a test evaluation."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..baselines import Applied, apply_method
from ..config import Config
from ..structure import Candidate, ModuleOptions, Space, Supernet, find_sites
from ..tasks import Encoded, Noise
from .classifier import TextClassifier
from .context import Context
from .evaluate import confidence, loss, predict_logits, predict_sets, predicted, quality
from .loop import Plan, seed_everything, train
from .search import SearchPlan, StructureSearch

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Unit:
    """One training: a method with its options under a plan.

    Attributes:
        method: key of ``baselines.METHODS``, or ``search``: a structure search whose own weights are the result.
        label: name of the row in tables, e.g. ``lora`` or ``slat-3f2a...``.
        options: what the method takes (JSON values only); of ``search`` what :func:`search_trial` takes beside.
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

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan(config: Config, learning_rate: float, seed: int, noise: Noise, head_only: bool = False) -> Plan:
    """The plan that all methods share; ``head_only`` makes ``learning_rate`` that of the head."""
    t = config.training
    return Plan(
        steps=t.steps,
        batch_size=t.batch_size,
        learning_rate=learning_rate,
        head_learning_rate=learning_rate if head_only else t.head_learning_rate,
        weight_decay=t.weight_decay,
        warmup=t.warmup,
        noise=noise,
        seed=config.seed + seed,
    )


def _noise_ids(context: Context) -> dict[str, Any]:
    tokenizer = context.backbone().tokenizer
    mask = tokenizer.mask_token_id
    return {
        "special_ids": tuple(tokenizer.all_special_ids),
        "mask_id": mask if mask is not None else (tokenizer.unk_token_id or 0),
    }


def _rung_measures(model: TextClassifier, context: Context) -> dict[str, float]:
    """Quality on validation, clean and perturbed, their ratio, and the loss on clean text."""
    sets, metric = [context.validation, context.validation_perturbed], context.config.task.metric
    logits = predict_sets(model, sets)
    clean, perturbed = _qualities(metric, sets, logits)
    return {
        "quality": clean,
        "quality_perturbed": perturbed,
        "retained": perturbed / clean if clean > 0 else 0.0,
        "loss": loss(context.validation.labels, logits[0]),
    }


def _qualities(metric: str, sets: Sequence[Encoded], logits: Sequence[np.ndarray]) -> list[float]:
    return [quality(metric, data.labels, found) for data, found in zip(sets, logits, strict=True)]


def space(config: Config) -> Space:
    """The supernet's candidates as the structure engine takes them."""
    candidates = {str(kind): Candidate(c.size, c.group) for kind, c in config.space.kinds.items()}
    return Space(candidates, ModuleOptions(config.space.activation, config.space.scale))


def search_trial(context: Context, sampled: Mapping[str, Any], stops: list[int]) -> Generator[dict[str, Any]]:
    """One differentiable structure search; yields a report at each of ``stops`` and at the end.

    Every report is of the discretised structure, which it holds under ``structure``; the last one holds its trained
    weights under ``state``.

    Args:
        sampled: ``sparsity`` or ``budget``, ``learning_rate``, ``noise_kind``, ``noise_ratio``, and
            ``gate_learning_rate`` where gates are trained.

    Raises:
        DivergedError: the loss was not finite.
    """
    config = context.config
    seed_everything(config.seed)
    model = context.classifier()
    sites = find_sites(model.backbone, config.space.include, config.space.exclude)
    g = config.gates
    saliency = {"crowding": g.crowding, "reach": g.reach, "smoothing": g.smoothing}
    supernet = Supernet(model.backbone, sites, space(config), g.kind, g.init, g.groups, saliency)
    search = SearchPlan(
        sparsity=sampled.get("sparsity", 0.0),
        budget=sampled.get("budget"),
        gate_learning_rate=sampled.get("gate_learning_rate", 0.0),
        temperature=g.temperature,
        warmup=g.warmup,
        settle=g.settle,
        shrink_every=g.shrink_every,
        depth=g.depth,
        entropy=g.entropy,
        diversity=g.diversity,
        held_out=g.held_out,
        growth=g.growth,
    )
    controller = StructureSearch(supernet, search, config.training.steps)
    noise = Noise(sampled["noise_kind"], sampled["noise_ratio"])
    training = plan(config, sampled["learning_rate"], 0, noise)
    began = time.perf_counter()
    try:
        for step in train(
            model,
            supernet.adapter,
            context.train,
            training,
            stops=stops,
            controller=controller,
            **_noise_ids(context),
        ):
            supernet.eval()
            measures = _rung_measures(model, context)
            supernet.train()
            structure = supernet.structure()
            report = {
                "step": step,
                **measures,
                "params": structure.params,
                "atoms": len(supernet.costs),
                "seconds": time.perf_counter() - began,
                "structure": structure,
            }
            if step == training.steps:
                report["state"] = _state(dict(supernet.settle().named_parameters()), model)
            yield report
    finally:
        supernet.detach()


@contextmanager
def _standing(context: Context, unit: Unit) -> Iterator[tuple[TextClassifier, Applied]]:
    """A classifier with the unit's method on it, seeded; the backbone is bare again afterwards."""
    seed_everything(context.config.seed + unit.seed)
    model = context.classifier()
    applied = apply_method(unit.method, model.backbone, unit.options)
    try:
        yield model, applied
    finally:
        applied.undo()


def train_unit(context: Context, unit: Unit) -> tuple[dict[str, Any], State]:
    """Train a method; returns validation measures and the trained weights (adapter and head).

    The result of a search tells its ``structure``, too; with it the unit can be evaluated as ``slat``.
    """
    if unit.method == "search":
        return _search_unit(context, unit)
    with _standing(context, unit) as (model, applied):
        noise = Noise(unit.noise_kind, unit.noise_ratio)
        training = plan(context.config, unit.learning_rate, unit.seed, noise, head_only=applied.module is None)
        began = time.perf_counter()
        for _ in train(model, applied.module, context.train, training, **_noise_ids(context)):
            pass
        seconds = time.perf_counter() - began
        result = {
            "validation": _rung_measures(model, context),
            "params": applied.params,
            "seconds": seconds,
            "step_seconds": seconds / training.steps,
        }
        state = _state(applied.trained(), model)
    return result, state


def _search_unit(context: Context, unit: Unit) -> tuple[dict[str, Any], State]:
    seeded = replace(context, config=context.config.model_copy(update={"seed": context.config.seed + unit.seed}))
    sampled = {name: getattr(unit, name) for name in ("learning_rate", "noise_kind", "noise_ratio")}
    *_, last = search_trial(seeded, {**sampled, **unit.options}, [])
    result = {
        "validation": {name: last[name] for name in ("quality", "quality_perturbed", "retained", "loss")},
        "params": last["params"],
        "seconds": last["seconds"],
        "step_seconds": last["seconds"] / last["step"],
        "structure": last["structure"].to_dict(),
    }
    return result, last["state"]


def _state(trained: Mapping[str, nn.Parameter], model: TextClassifier) -> State:
    state = {f"adapter.{name}": p.detach().cpu().numpy().copy() for name, p in trained.items()}
    return state | {f"head.{name}": p.detach().cpu().numpy().copy() for name, p in model.head.named_parameters()}


def evaluate_unit(context: Context, unit: Unit, state: State) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Test quality of trained weights, clean and perturbed, and the seconds that logits take for a clean text.

    Returns:
        The measures, and what they come from: ``labels`` (texts,), and ``outputs`` and ``confidence`` (sets, texts) of
        the clean set and then of the perturbed ones, in their order in the measures.
    """
    with _standing(context, unit) as (model, applied):
        load_state(model, applied, state)
        sets = [context.test, *context.test_perturbed.values()]
        logits = predict_sets(model, sets)
        clean, *perturbed = _qualities(context.config.task.metric, sets, logits)
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


def load_state(model: TextClassifier, applied: Applied, state: Mapping[str, np.ndarray]) -> None:
    """Put trained weights into a classifier with its method standing."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    applied.load({n.removeprefix("adapter."): v for n, v in tensors.items() if n.startswith("adapter.")})
    model.head.load_state_dict({n.removeprefix("head."): v for n, v in tensors.items() if n.startswith("head.")})
