"""Add a task to a trained pool, without touching what the others have."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from torch import Tensor

from ..config import Config, Model
from ..errors import SlatError
from ..records import Measures, TrainingJob
from ..structure import SharedAdapter, Supernet, find_sites
from ..tasks import Noise
from ..training.context import Context, prepare
from ..training.digests import check_model
from ..training.evaluate import predict_sets
from ..training.gate_schedule import controller_for
from ..training.loop import seed_everything
from ..training.protocol import (
    make_training,
    plan,
    qualities,
    validation_measures,
)
from ..training.trial import search_options, search_plan, space
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
    models, (encoded,) = context.models(), context.tasks
    backbone = models[0].backbone
    pool = pool_on(backbone, description, tensors)
    pool.detach()
    sites = find_sites(backbone, config.space.include, config.space.exclude)
    options = search_options(config, sampled)
    made = Supernet(backbone, sites, space(config), options, (task,), pool)
    try:
        training = make_training(
            context,
            models,
            made.adapter,
            plan(config, sampled["learning_rate"], 0, Noise()),
            controller_for(made, search_plan(config, sampled, sites), config.training.steps),
            lambda _: made.switch(len(pool.structure.tasks)),
        )
        for _ in training.run():
            pass
        shared = made.discretize()
        assert isinstance(shared, SharedAdapter)
        made.eval()
        measures = Measures(**validation_measures(context, models))
        (test,) = qualities(config.task.metric, [encoded.test], predict_sets(models[0], [encoded.test]))
        own, weights = shared.alone(task)
    finally:
        made.detach()
    out.mkdir(parents=True)
    for name in pool.structure.tasks:
        shutil.copytree(folder / name, out / name)
    head = {f"head.{name}": p.detach().cpu().numpy() for name, p in models[0].head.named_parameters()}
    alone = {f"adapter.{name}": value.cpu().numpy() for name, value in weights.items()}
    unit = TrainingJob("slat", f"added-{task}", sampled["learning_rate"], 0, options={"structure": own.to_dict()})
    save_bundle(out / task, context, unit, {**alone, **head}, measures)
    _save_pool(out, context, description, tensors, shared, head)
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
    tasks = {**description["tasks"], task: json.loads((out / task / "adapter.json").read_text())}
    save_file(state, out / "shared.safetensors")
    told = {**description, "structure": shared.structure.to_dict(), "tasks": tasks}
    (out / "shared.json").write_text(json.dumps(told, indent=2) + "\n")
