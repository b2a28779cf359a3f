"""Table rows of one training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import SlatError
from ..records import (
    ALONE,
    POOLED,
    Environment,
    Final,
    ModelFacts,
    PerturbationRow,
    ResultRow,
    TaskTest,
    Tested,
    Trained,
    read_training,
)
from ..run_folder import RunFolder
from .robustness import Predictions, retained
from .shared import part_of


def rows_of(
    run: RunFolder, final: Final, environment: Environment
) -> list[tuple[ResultRow, list[PerturbationRow], Predictions]]:
    """Return a training's rows for each task.

    Raises:
        SlatError: a file is missing or damaged.
    """
    files = final.files_in(run)
    training, test = files / f"{final.key}.train.json", files / f"{final.key}.test.json"
    trained, tested = read_training(training), Tested.read(test)
    if not isinstance(trained, Trained):
        raise SlatError(f"{training}: damaged (it was tested, but its training came to nothing)")
    tasks = [final.task] if final.task else [task.name for task in environment.tasks]
    if len(tasks) != len(tested.tasks):
        raise SlatError(f"{test}: damaged (it is of {len(tested.tasks)} tasks, not {len(tasks)})")
    rows = []
    for number, (task, of_task) in enumerate(zip(tasks, tested.by_number, strict=True)):
        predictions = Predictions.read(files / f"{final.key}.test.safetensors", of_task.sets, number)
        row = _result_row(final, trained, of_task, environment.model, task, number)
        rows.append((row, _curve(row, of_task), predictions))
    return rows


def _result_row(final: Final, trained: Trained, test: TaskTest, model: ModelFacts, task: str, number: int) -> ResultRow:
    """Return the row of a training on one task, whose place among its tasks is ``number``."""
    validation = trained.validation.of(task)
    return ResultRow(
        task=task,
        model=model.name,
        family="slat" if final.structure else "baseline",
        method=final.label,
        name=final.name,
        tuned_as=final.tuned_as or final.name,
        how=ALONE if final.task else POOLED,
        structure=final.structure,
        group=final.group,
        budget=final.budget,
        seed=trained.job.seed,
        learning_rate=trained.job.learning_rate,
        noise_kind=trained.job.noise_kind,
        noise_ratio=trained.job.noise_ratio,
        validation=validation.quality,
        validation_retained=validation.retained,
        quality=test.quality,
        retained=float(retained(test.sets, np.array(test.qualities))),
        params=trained.params,
        own=_own(trained, number),
        bytes=trained.bytes,
        params_percent=100 * trained.params / model.params,
        compression=model.params / trained.params if trained.params else float("inf"),
        head_params=model.head_params,
        train_seconds=trained.seconds,
        seconds_per_text=test.seconds_per_text,
        memory=trained.memory,
        steps=trained.steps,
        test_loss=np.nan if test.loss is None else test.loss,
        seconds_of_one=np.nan if test.seconds_of_one is None else test.seconds_of_one,
    )


def _curve(row: ResultRow, test: TaskTest) -> list[PerturbationRow]:
    """Return the quality at each perturbation, and without one for each kind."""
    measured = [(point.kind, point.ratio, point.quality) for point in test.perturbed]
    measured += [(kind, 0.0, test.quality) for kind in dict.fromkeys(point.kind for point in test.perturbed)]
    return [
        PerturbationRow(task=row.task, method=row.method, seed=row.seed, kind=kind, ratio=ratio, quality=quality)
        for kind, ratio, quality in measured
    ]


def _own(trained: Trained, number: int) -> int:
    """Return the parameters that a task uses of what was trained."""
    structure = trained.modules
    if structure is None or "tasks" not in structure:
        return trained.params
    return sum(module["params"] for module in part_of(structure, number)["modules"])


def summed(results: pd.DataFrame, backbone: int) -> pd.DataFrame:
    """Let what was trained for each task alone count with the sum over tasks: all of them together are that large."""
    apart = results["how"] == ALONE
    if not apart.any():
        return results
    sums = results[apart].groupby(["method", "seed"])
    rows = results.assign(bytes=results["bytes"].astype(float), compression=results["compression"].astype(float))
    params = sums["own"].transform("sum")
    rows.loc[apart, "params"] = params
    rows.loc[apart, "bytes"] = sums["bytes"].transform(lambda part: part.astype(float).sum(skipna=False))
    rows.loc[apart, "params_percent"] = 100 * params / backbone
    rows.loc[apart, "compression"] = (backbone / params.where(params > 0)).fillna(np.inf)
    return rows
