"""Add a task to a trained pool, without touching what the others have."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..config import Config, Model
from ..errors import SlatError
from ..files import read_json, sync_folder
from ..records import Measures, TrainingJob
from ..structure import SharedAdapter, Supernet, find_sites
from ..tasks import Noise
from ..training.context import Context, prepare
from ..training.digests import check_model
from ..training.evaluate import predict_sets
from ..training.gate_schedule import controller_for
from ..training.loop import Training, seed_everything
from ..training.protocol import (
    noise_ids,
    plan,
    qualities,
    validation_measures,
)
from ..training.task_stream import Source
from ..training.trial import search_options, search_plan, space
from .parts import write_parts
from .predictor import save_bundle
from .shared_predictor import pool_on, read_shared


def add_task(folder: str | Path, config: Config, out: str | Path, sampled: Mapping[str, Any]) -> dict[str, Any]:
    """Search and train what one more task needs beside a pool, and write the larger pool to ``out``.

    The new task may use the pool's modules, whose weights are frozen, and gets new ones of its own. Folders of the
    other tasks are copied as they are. Test is read once, at the end.

    Args:
        folder: of a pool, see :func:`.save_shared`.
        config: of the new task; its model is the pool's.
        out: a folder that is not there yet.
        sampled: ``sparsity`` or ``budget`` (of what is new), ``sharing`` and ``learning_rate``, and
            ``gate_learning_rate`` where gates are trained.

    Returns:
        ``validation`` measures, ``test`` quality, ``params`` of the new task and ``new`` ones among them.

    Raises:
        SlatError: no pool there, another model, a task of that name, or ``out`` exists.
    """
    if config.tasks:
        raise SlatError("tasks: one task is added at a time; give it as `task`")
    folder, out, task = Path(folder), Path(out), config.task.name
    description, tensors = read_shared(folder)
    if out.exists():
        raise SlatError(f"--out: {out} is there already; choose another")
    if Model.model_validate(description["model"]) != config.model:
        raise SlatError(f"model: that of the pool is {description['model']}, not {config.model.model_dump()}")
    context, _ = prepare(config)
    check_model(f"pool {folder}", description, context.frozen.model, context.frozen.tokenizer)
    seed_everything(config.seed)
    model = context.model()
    pool = pool_on(model.backbone, description, tensors)
    pool.detach()
    sites = find_sites(model.backbone, config.space.include, config.space.exclude)
    options = search_options(config, sampled)
    made = Supernet(model.backbone, sites, space(config), options, (task,), pool)
    try:
        training = Training(
            [Source(model, context.train)],
            made.adapter,
            plan(config, sampled["learning_rate"], 0, Noise()),
            controller=controller_for(made, search_plan(config, sampled, sites), config.training.steps),
            switch=lambda _: made.switch(len(pool.structure.tasks)),
            **noise_ids(context),
        )
        for _ in training.run():
            pass
        shared = made.discretize()
        assert isinstance(shared, SharedAdapter)
        made.eval()
        measures = Measures(**validation_measures(model, context))
        (test,) = qualities(config.task.metric, [context.test], predict_sets(model, [context.test]))
        own, weights = shared.alone(task)
    finally:
        made.detach()
    unfinished = out.with_name(f".{out.name}.unfinished")  # what fails, as on a full disk, leaves no folder in the way
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name in pool.structure.tasks:
        shutil.copytree(folder / name, unfinished / name)
    head = {f"head.{name}": p.detach().cpu().numpy() for name, p in model.head.named_parameters()}
    alone = {f"adapter.{name}": value.cpu().numpy() for name, value in weights.items()}
    unit = TrainingJob("slat", f"added-{task}", sampled["learning_rate"], 0, options={"structure": own.to_dict()})
    save_bundle(unfinished / task, context, unit, {**alone, **head}, measures)
    _save_pool(unfinished, context, description, tensors, shared, head)
    unfinished.rename(out)
    sync_folder(out.parent)
    return {
        "validation": measures,
        "test": test,
        "params": own.params,
        "new": shared.structure.params - pool.structure.params,
    }


def _save_pool(
    out: Path,
    context: Context,
    description: dict[str, Any],
    tensors: Mapping[str, Tensor],
    shared: SharedAdapter,
    head: Mapping[str, np.ndarray],
) -> None:
    """``shared.json`` and ``shared.safetensors`` of the pool with its new task."""
    task, count = context.config.task.name, len(description["tasks"])
    state = {name: value.numpy() for name, value in tensors.items() if name.startswith("heads.")}
    state |= {f"heads.{count}.{name.removeprefix('head.')}": value for name, value in head.items()}
    state |= {f"adapter.{name}": p.detach().cpu().numpy() for name, p in shared.adapter.named_parameters()}
    state["scales"] = shared.scales.cpu().numpy()
    tasks = {**description["tasks"], task: read_json(out / task / "adapter.json")}
    write_parts(out, "shared", {**description, "structure": shared.structure.to_dict(), "tasks": tasks}, state)
