"""What a run keeps of its trainings for use: an adapter a method and task, with the weights of the best seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .records import ALONE_LABEL, Measures, Unit
from .structure import SharedStructure
from .training.bundle import save_bundle
from .training.pool import AnyContext, PoolContext
from .training.protocol import State, head_names, those_of
from .training.shared_bundle import save_shared
from .tuning.finals import Contender, as_trained, best_seeds
from .tuning.fixed import UnitPool


def save_adapters(folder: Path, pool: UnitPool, finals: Sequence[tuple[Contender, Unit]], alone: str = "") -> None:
    """Save each method with the weights of its best seed on validation, but for full fine-tuning, which is as large as
    the model.

    Args:
        folder: gets a folder a method; of several tasks with a folder a task in it.
        pool: that trained the methods.
        alone: name of the task that they were trained for alone, in a run over several.
    """
    context = pool.context
    adapters = [(contender, unit) for contender, unit in finals if unit.method != "full"]
    digests = {unit.label: contender.digest for contender, unit in adapters}
    for label, unit in best_seeds(pool, adapters).items():
        place, state = folder / (f"{ALONE_LABEL}{label}/{alone}" if alone else label), pool.state(unit)
        measures = pool.train_well([unit])[unit.key].validation
        structure = as_trained(pool, unit) if digests[label] else None
        if isinstance(structure, SharedStructure) and isinstance(context, PoolContext):
            save_shared(place, context, unit, structure, state, measures)
        else:
            _save_each(place, context, pool.as_found(unit), state, measures)


def _save_each(place: Path, context: AnyContext, unit: Unit, state: State, measures: Measures) -> None:
    """Save a training as an adapter of each task; of a single one in ``place`` itself."""
    several = len(context.parts) > 1
    modules = {name: value for name, value in state.items() if name.startswith("adapter.")}
    for prefix, part in zip(head_names(len(context.parts)), context.parts, strict=True):
        task = part.config.task.name
        where, its = (place / task, replace(unit, label=f"{unit.label}-{task}")) if several else (place, unit)
        head = {f"head.{name}": value for name, value in those_of(f"{prefix}.", state).items()}
        save_bundle(where, part, its, modules | head, measures.of(task))
