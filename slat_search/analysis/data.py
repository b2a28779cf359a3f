"""Everything that a run left, in memory: from the files of its trainings, or from the tables that are kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import SlatError
from ..records import (
    POOLED,
    Environment,
    KeptConfig,
    PerturbationRow,
    Record,
    ResultRow,
    Selection,
    TransferRow,
    read_kept_structure,
)
from ..run_folder import RunFolder
from . import robustness
from .robustness import Predictions, Robustness, mean_of
from .rows import rows_of, summed
from .table_files import read_csv, read_table, typed, with_numbers

#: task -> method -> test predictions of each seed's model
PredictionsOfTasks = dict[str, dict[str, list[Predictions]]]
_NEEDED = ("task", "method", "name", "family", "seed", "quality", "validation", "params", "memory")  # of results.csv
_MEASURES = ("step", "quality", "quality_perturbed", "retained", "loss", "params", "atoms", "seconds")  # of trials.csv
_OF_ONE, _OF_SEVERAL = ("model", "group", "budget", "steps"), ("how", "own")  # what the earliest versions kept of each


@dataclass(frozen=True)
class RunData:
    """All data of a run.

    Attributes:
        config: what is needed of the configuration, and all of it for pages.
        environment: versions, hardware, and sizes of tasks and model.
        trials: one row a trial.
        history: one row a report of a trial.
        selection: what was compared, and which learning rates were tried and chosen.
        results: rows of :class:`.ResultRow`.
        perturbed: rows of :class:`.PerturbationRow`; empty where they were not kept.
        transfer: rows of :class:`.TransferRow`; empty where nothing was transferred.
        structures: label -> JSON of each found structure that was trained.
        predictions: by task, method and seed; empty where they were not kept.
        kept_robust: the table of :func:`.robustness.table`, where it was kept and predictions were not.
    """

    config: KeptConfig
    environment: Environment
    trials: pd.DataFrame
    history: pd.DataFrame
    selection: Selection
    results: pd.DataFrame
    perturbed: pd.DataFrame
    transfer: pd.DataFrame
    structures: dict[str, dict[str, Any]]
    predictions: PredictionsOfTasks = field(default_factory=dict)
    kept_robust: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def tasks(self) -> list[str]:
        """Return the task names in order."""
        return [task.name for task in self.environment.tasks]

    @property
    def several(self) -> bool:
        """Whether several tasks trained together."""
        return len(self.environment.tasks) > 1

    def predictions_of(self, method: str) -> list[list[Predictions]]:
        """Return a method's predictions for each task; empty if one is missing."""
        of_tasks = [self.predictions.get(task, {}).get(method, []) for task in self.tasks]
        return of_tasks if all(of_tasks) else []

    @cached_property
    def robustness(self) -> dict[str, Robustness]:
        """By label of the method, mean over tasks; without intervals where predictions were not kept."""
        if not self.predictions:
            return {str(method): _measured(rows) for method, rows in self.perturbed.groupby("method", sort=False)}
        metrics, seed = [task.metric for task in self.config.tasks], self.config.seed
        found = {}
        for method in dict.fromkeys(self.results["method"]):
            if of_tasks := self.predictions_of(method):
                pairs = zip(of_tasks, metrics, strict=True)
                found[method] = mean_of([Robustness.of(seeds, metric, seed) for seeds, metric in pairs])
        return found

    @cached_property
    def robust(self) -> pd.DataFrame:
        """The table of :func:`.robustness.table`; empty where nothing of it was kept."""
        if not self.predictions:
            return self.kept_robust
        return robustness.table(
            {m: [said for task in self.predictions_of(m) for said in task] for m in self.robustness}, self.robustness
        )


def _measured(curves: pd.DataFrame) -> Robustness:
    """Return means over seeds and tasks of one method, as they were measured."""
    means = curves.groupby(["kind", "ratio"], sort=False)["quality"].mean()
    perturbed = means[means.index.get_level_values("ratio") > 0]
    clean = means[means.index.get_level_values("ratio") == 0].iloc[0]
    measured = np.array([clean, *perturbed])
    return Robustness((("clean", 0.0), *perturbed.index), measured, measured[None])


def read_run(run: RunFolder) -> RunData:
    """Read a run whose trainings and tests are finished.

    Raises:
        SlatError: a file is missing, damaged, or of a version that kept less.
    """
    environment, selection = Environment.read(run / "environment.json"), Selection.of(run)
    rows: list[ResultRow] = []
    curves: list[PerturbationRow] = []
    predictions: PredictionsOfTasks = {}
    for final in selection.finals:
        for row, curve, said in rows_of(run, final, environment):
            rows.append(row)
            curves += curve
            predictions.setdefault(row.task, {}).setdefault(row.method, []).append(said)
    return RunData(
        config=KeptConfig.of(run),
        environment=environment,
        trials=read_trials(run),
        history=read_csv(run / "history.csv"),
        selection=selection,
        results=summed(frame(rows, ResultRow), environment.model.params),
        perturbed=frame(curves, PerturbationRow),
        transfer=read_table(run / "transfer.csv", TransferRow),
        structures=read_structures(run),
        predictions=predictions,
    )


def read_kept(run: RunFolder) -> RunData:
    """Read what is kept of a run without its trainings: the tables that it wrote.

    Raises:
        SlatError: a file is missing, damaged, or of a version that kept less.
    """
    environment = Environment.read(run / "environment.json")
    robust = run / "robustness.csv"
    return RunData(
        config=KeptConfig.of(run),
        environment=environment,
        trials=read_trials(run),
        history=read_csv(run / "history.csv"),
        selection=Selection.of(run),
        results=read_results(run, environment),
        perturbed=read_table(run / "perturbation.csv", PerturbationRow, later=("task",)),
        transfer=read_table(run / "transfer.csv", TransferRow),
        structures=read_structures(run),
        kept_robust=read_csv(robust) if robust.is_file() else pd.DataFrame(),
    )


def read_results(run: RunFolder, environment: Environment) -> pd.DataFrame:
    """Read ``results.csv`` with the columns of :class:`.ResultRow`; what an earlier version did not write is filled in,
    as far as it follows from the rest.

    Raises:
        SlatError: missing, damaged, or of a version that kept less.
    """
    rows = read_csv(run / "results.csv", keep_default_na=False, na_values=[""], dtype={"structure": str})
    wanted = (*_NEEDED, *(_OF_SEVERAL if len(environment.tasks) > 1 else _OF_ONE))
    if missing := sorted(set(wanted) - set(rows)):
        raise SlatError(f"{run.root}: results.csv has no column {missing[0]}; it was made by another version")
    rows = typed(rows, ResultRow, run / "results.csv", [name for name in _NEEDED if name != "memory"])
    if "group" not in rows:
        finals = {final.label: final for final in Selection.of(run).finals}
        for name in ("structure", "group", "budget"):
            rows[name] = [getattr(finals[label], name) if label in finals else None for label in rows["method"]]
    percent = 100 * rows["params"] / environment.model.params
    follows: dict[str, Any] = {
        "model": environment.model.name,
        "tuned_as": rows["name"],
        "how": POOLED,
        "own": rows["params"],
        "params_percent": percent,
        "compression": (100 / percent).where(percent > 0, np.inf),
        "head_params": environment.model.head_params,
    }
    rows = rows.assign(**{name: value for name, value in follows.items() if name not in rows})
    return rows.reindex(columns=list(ResultRow.model_fields))


def read_trials(run: RunFolder) -> pd.DataFrame:
    """Read ``trials.csv``; a digest is text, even where it has digits alone.

    Raises:
        SlatError: missing or damaged.
    """
    path = run / "trials.csv"
    return with_numbers(read_csv(path, dtype={"structure": str}), ("trial", *_MEASURES), path)


def read_structures(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Return label -> JSON of each found structure that was trained.

    Raises:
        SlatError: one is damaged.
    """
    paths = sorted((run / "structures").glob("slat-*.json"))
    return _Structures(run / "structures", {path.stem: read_kept_structure(path) for path in paths})


class _Structures(dict[str, dict[str, Any]]):
    """Structures by label, of which none may be missing that results are of."""

    def __init__(self, folder: Path, structures: dict[str, dict[str, Any]]):
        super().__init__(structures)
        self._folder = folder

    def __missing__(self, label: str) -> dict[str, Any]:
        raise SlatError(f"{self._folder / f'{label}.json'}: no such file, and results are of that structure")


def frame(rows: list[Any], kind: type[Record]) -> pd.DataFrame:
    """Return a table of records of one kind, nan where a number is missing."""
    return typed(pd.DataFrame([row.model_dump() for row in rows], columns=list(kind.model_fields)), kind, Path())
