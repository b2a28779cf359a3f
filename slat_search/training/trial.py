"""One search trial: a differentiable structure search that reports at rungs and can be resumed there."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..baselines.applied import SCALES
from ..config import ALL_KINDS, Config
from ..models.task_model import TaskModel
from ..structure import (
    Adapter,
    Candidate,
    ModuleOptions,
    SearchOptions,
    SharedAdapter,
    Site,
    Space,
    Supernet,
    find_sites,
)
from ..tasks import Noise
from .context import Context
from .gate_schedule import ScreeningSearch, SearchPlan, StructureSearch, controller_for
from .loop import Training, seed_everything
from .protocol import make_training, plan, trained_arrays, validation_measures
from .sampled_structure import SampledNet, sampled_structure

Checkpoint = dict[str, Any]


def space(config: Config, kinds: str = ALL_KINDS) -> Space:
    """Return the supernet's candidates for the structure engine; ``kinds`` is one of :attr:`Config.kind_sets`."""
    names = set(config.space.kinds) if kinds == ALL_KINDS else set(kinds.split("+"))
    candidates = {str(kind): Candidate(c.size, c.group) for kind, c in config.space.kinds.items() if kind in names}
    return Space(candidates, ModuleOptions(config.space.activation, config.space.scale))


def search_plan(config: Config, sampled: Mapping[str, Any], sites: Sequence[Site]) -> SearchPlan:
    """Return the pressure of one search, as the trial sampled it.

    A screening's learning rate is meant for a space of all kinds, also where a trial has only some of them, as
    rejected candidates do not train.
    """
    fields = {name: sampled[name] for name in ("sparsity", "budget", "gate_learning_rate") if name in sampled}
    return SearchPlan(**fields, whole=space(config).params(sites) if config.gates.kind == "screening" else None)


def search_options(config: Config, sampled: Mapping[str, Any]) -> SearchOptions:
    """Return how a search chooses atoms: the settings of the configuration, and the ``sharing`` that the trial sampled.

    A screening begins at once where a model answers in words, as there is no head to train alone before it.
    """
    fields = config.gates.model_dump()
    if config.task.is_prompted and config.gates.kind == "screening":
        fields["warmup"] = 0.0
    sharing = {"sharing": sampled["sharing"]} if "sharing" in sampled else {}
    return SearchOptions(**fields, worth=config.multitask.worth, **sharing)


def _supernet(
    context: Context, backbone: nn.Module, sites: Sequence[Site], sampled: Mapping[str, Any]
) -> Supernet | SampledNet:
    """Put the supernet of a trial on a backbone."""
    config = context.config
    if config.search.method == "static":
        return SampledNet(backbone, sampled_structure(config, sites, sampled))
    kinds = space(config, sampled.get("kinds", ALL_KINDS))
    return Supernet(backbone, sites, kinds, search_options(config, sampled), context.names)


def final_values(adapter: Adapter | SharedAdapter) -> dict[str, Tensor]:
    """Return the final weights of a search; for several tasks with the scale of each unit for each task."""
    if isinstance(adapter, Adapter):
        return adapter.state_dict()
    return {**adapter.adapter.state_dict(), SCALES: adapter.scales}


def search_trial(
    context: Context,
    sampled: Mapping[str, Any],
    stops: Collection[int],
    checkpoint: Checkpoint | None = None,
    accumulation: int = 1,
) -> Generator[dict[str, Any]]:
    """Run one differentiable structure search, or the training of one sampled structure in a static search.

    Yields a report at each of ``stops`` and at the end, measured on the discretized structure, which it holds under
    ``structure``. The last report holds the trained weights under ``state``; earlier ones a ``checkpoint`` of live
    tensors, to be saved before the next report is requested. A resumed trial first repeats the report of its
    checkpoint, and then continues as an uninterrupted trial would, bit for bit on the same machine.

    Args:
        sampled: ``sparsity`` or ``budget``, ``learning_rate``, ``noise_kind``, ``noise_ratio``, ``kinds`` where not all
            of them are candidates, ``gate_learning_rate`` where gates are trained, and ``sharing`` where there are
            several tasks; in a static search the values of :func:`.sampled_structure` instead.
        checkpoint: of a trial with the same context and the same values.
        accumulation: micro-batches per batch.

    Raises:
        DivergedError: the loss was not finite.
    """
    config = context.config
    seed_everything(config.seed)
    models = context.models()
    sites = find_sites(models[0].backbone, config.space.include, config.space.exclude)
    supernet = _supernet(context, models[0].backbone, sites, sampled)
    try:
        if checkpoint is not None:
            supernet.load_state_dict(checkpoint["supernet"])
        controller = None
        if isinstance(supernet, Supernet):
            pressure = search_plan(config, sampled, sites)
            controller = controller_for(supernet, pressure, config.training.steps)
        noise = Noise(sampled["noise_kind"], sampled["noise_ratio"])
        training = make_training(
            context,
            models,
            supernet.adapter,
            plan(config, sampled["learning_rate"], 0, noise, accumulation=accumulation),
            controller,
            supernet.switch,
        )
        trial = _Trial(context, models, supernet, training, controller, time.perf_counter())
        if checkpoint is not None:
            trial.resume(checkpoint)
            yield trial.report()
        for _ in training.run(stops):
            yield trial.report()
    finally:
        supernet.detach()


@dataclass
class _Trial:
    """A running trial.

    Attributes:
        controller: schedule of the gates; None for a sampled structure.
        start: time of :func:`time.perf_counter` at which it would have started without interruptions.
    """

    context: Context
    models: Sequence[TaskModel]
    supernet: Supernet | SampledNet
    training: Training
    controller: StructureSearch | ScreeningSearch | None
    start: float

    def resume(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint whose supernet is already loaded."""
        self.training.load_state_dict(checkpoint["training"])
        if self.controller is not None:
            self.controller.load_state_dict(checkpoint["search"], self.training.step)
        self.start -= checkpoint["seconds"]

    def report(self) -> dict[str, Any]:
        """Return measures and structure, with a checkpoint, or at the end the trained weights."""
        supernet, training, controller = self.supernet, self.training, self.controller
        supernet.eval()
        measuring_start = time.perf_counter()
        measures = validation_measures(self.context, self.models, supernet.switch)
        measuring_seconds = time.perf_counter() - measuring_start
        supernet.train()
        structure = supernet.structure()
        fields = {
            "step": training.step,
            **measures,
            "params": structure.params,
            "atoms": len(supernet.costs),
            "seconds": time.perf_counter() - self.start,
            "measuring_seconds": measuring_seconds,
            "parts": training.plan.accumulation,
            "structure": structure,
        }
        if training.step == training.plan.steps:
            return {**fields, "state": trained_arrays(final_values(supernet.discretize()), self.models)}
        states = {"supernet": supernet.state_dict(), "search": controller.state_dict() if controller else {}}
        return {**fields, "checkpoint": {**states, "training": training.state_dict(), "seconds": fields["seconds"]}}
