"""Add a task to a trained pool without a change of its other tasks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import SlatError
from ..files import whole_folder
from ..models.task_model import TaskModel
from ..records import Measures, SavedAdapter, TrainingJob
from ..structure import SharedAdapter, SharedStructure, Supernet, find_sites
from ..tasks import Noise
from ..training.context import Context, prepare
from ..training.digests import check_model
from ..training.evaluate import predict_sets
from ..training.gate_schedule import controller_for
from ..training.jobs import apply_job, load_state
from ..training.loop import seed_everything
from ..training.protocol import (
    State,
    make_training,
    plan,
    qualities,
    strip_prefix,
    trained_arrays,
    validation_measures,
)
from ..training.trial import final_values, search_options, search_plan, space
from .saved import described, naming, part_of, read_saved, write_adapter, write_saved


def add_task(folder: str | Path, config: Config, out: str | Path, sampled: Mapping[str, Any]) -> dict[str, Any]:
    """Search and train a new task on top of a pool, and write the larger pool to ``out``.

    The new task may use the modules of the pool, whose weights are frozen, and gets new ones of its own. The folders of
    the other tasks are copied unchanged. The test texts are read once, at the end.

    Args:
        folder: folder of an adapter of several tasks that a search found, see :func:`.write_adapter`.
        config: configuration of the new task; its model is that of the pool.
        out: folder to write, which does not exist yet.
        sampled: ``sparsity`` or ``budget`` (of the new modules), ``sharing`` and ``learning_rate``, and
            ``gate_learning_rate`` where gates are trained.

    Returns:
        ``validation`` measures, ``test`` quality, ``params`` of the new task, and the number of ``new`` ones.

    Raises:
        SlatError: no pool there, another model, a task of that name, or ``out`` exists.
    """
    if config.tasks:
        raise SlatError("tasks: one task is added at a time; give it as `task`")
    folder, out, task = Path(folder), Path(out), config.task.name
    saved, state = read_saved(folder)
    if out.exists():
        raise SlatError(f"--out: {out} is there already; choose another")
    if saved.model != config.model:
        raise SlatError(f"model: that of the pool is {saved.model.model_dump()}, not {config.model.model_dump()}")
    context, _ = prepare(config)
    check_model(f"pool {folder}", saved, context.frozen.model, context.frozen.tokenizer)
    seed_everything(config.seed)
    models = context.models()
    pool = _load_pool(folder, saved, state, models[0])
    addition = _search(context, models, pool, sampled)
    _write_pool(folder, out, saved, state, context, addition)
    return {
        "validation": addition.measures,
        "test": addition.test,
        "params": addition.structure.of(task).params,
        "new": addition.structure.params - pool.structure.params,
    }


@dataclass(frozen=True)
class _Addition:
    """Result of a search on top of a pool.

    Attributes:
        structure: structure of the larger pool.
        trained: weights of the larger pool and of the head of the new task.
        job, modules: part of the new task, as an adapter of its own.
        measures: measures on validation.
        test: quality on test.
    """

    structure: SharedStructure
    trained: State
    job: TrainingJob
    modules: State
    measures: Measures
    test: float


def _search(
    context: Context, models: Sequence[TaskModel], pool: SharedAdapter, sampled: Mapping[str, Any]
) -> _Addition:
    """Search and train the task of a context on top of a pool, and evaluate it on its test texts."""
    config, task = context.config, context.config.task
    sites = find_sites(models[0].backbone, config.space.include, config.space.exclude)
    options = search_options(config, sampled)
    supernet = Supernet(models[0].backbone, sites, space(config), options, (task.name,), pool)
    try:
        training = make_training(
            context,
            models,
            supernet.adapter,
            plan(config, sampled["learning_rate"], 0, Noise()),
            controller_for(supernet, search_plan(config, sampled, sites), config.training.steps),
            lambda _: supernet.switch(len(pool.structure.tasks)),
        )
        for _ in training.run():
            pass
        shared = supernet.discretize()
        assert isinstance(shared, SharedAdapter)
        supernet.eval()
        measures = Measures(**validation_measures(context, models))
        data = context.tasks[0].test
        (test,) = qualities(task.metric, [data], predict_sets(models[0], [data]))
        trained = trained_arrays(final_values(shared), models)
        job, modules = part_of(shared, TrainingJob("slat", "added", sampled["learning_rate"], 0), trained, task.name)
    finally:
        supernet.detach()
    return _Addition(shared.structure, trained, job, modules, measures, test)


def _write_pool(
    folder: Path, out: Path, saved: SavedAdapter, state: State, context: Context, addition: _Addition
) -> None:
    """Write the larger pool to ``out``, with the folders of the other tasks copied from ``folder``."""
    task = context.config.task.name
    record = saved.model_copy(
        update={
            "job": replace(saved.job, options={"structure": addition.structure.to_dict()}),
            "tasks": {**saved.tasks, task: described(context.tasks[0], addition.measures)},
        }
    )
    head = strip_prefix("head.", addition.trained)
    heads = {name: value for name, value in state.items() if name.startswith("heads.")}
    heads |= {f"heads.{len(saved.tasks)}.{name}": value for name, value in head.items()}
    adapter_weights = {name: value for name, value in addition.trained.items() if name.startswith("adapter.")}
    with whole_folder(out) as staging:
        for name in saved.tasks:
            shutil.copytree(folder / name, staging / name)
        modules = addition.modules | {f"head.{name}": value for name, value in head.items()}
        write_adapter(staging / task, context, addition.job, modules, addition.measures)
        write_saved(staging, record, adapter_weights | heads)


def _load_pool(folder: Path, saved: SavedAdapter, state: State, model: TaskModel) -> SharedAdapter:
    """Return a trained pool that is detached from the model.

    Raises:
        SlatError: weights that do not fit, or an adapter that is no pool.
    """
    with naming("pool", folder):
        applied = apply_job(saved.job, model.backbone)
        applied.undo()
        if applied.shared is None:
            raise SlatError("holds no pool that a search over several tasks found, so no task can be added")
        load_state([], applied, state)
    return applied.shared
