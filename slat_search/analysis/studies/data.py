"""Measurements of the sensitivity studies: rows, curves with intervals, and the outcome in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...records import (
    Environment,
    Failed,
    KeptConfig,
    ReferencePoint,
    StudyPoint,
    StudyPoints,
    StudyRow,
    Tested,
    Tuning,
    read_training,
)
from ...run_folder import RunFolder
from ..robustness import (
    Predictions,
    Robustness,
    kinds_of,
    mean_of,
    places_of,
)
from ..shared import shared_by
from ..statistics import interval
from ..table_files import read_csv


@dataclass(frozen=True)
class Studies:
    """Everything that tables and figures of the studies need.

    Attributes:
        config: what is needed of the configuration, and all of it for pages.
        environment: see ``environment.json``.
        tuning: by method, the learning rates that were tried and chosen.
        results: rows of :class:`.StudyRow`, a row a point.
        curves: ``study kind method value quality low high change change_low change_high params shared seeds``, a row a
            setting: means over seeds (and tasks), and the change from the study's reference (its weight, or ratio 0).
            Intervals are 95 % bootstrap over texts and seeds; a change is drawn on the same texts.
        by_task: the same of each task, with a column ``task``; empty where there is one.
        importance: see :func:`..importance.importances`; empty without a screening.
        screened: how many trials the screening had.
    """

    config: KeptConfig
    environment: Environment
    tuning: dict[str, Tuning]
    results: pd.DataFrame
    curves: pd.DataFrame
    by_task: pd.DataFrame
    importance: pd.DataFrame
    screened: int

    @property
    def tasks(self) -> list[str]:
        """Names, where there are several."""
        return [task.name for task in self.config.tasks] if len(self.config.tasks) > 1 else []

    @property
    def metric(self) -> str:
        return f"{self.config.metric}," if self.tasks else self.config.metric

    @property
    def quality_label(self) -> str:
        return f"test {self.metric}".removesuffix(",")

    @property
    def methods(self) -> list[str]:
        """Names in order, the search first."""
        return list(dict.fromkeys(self.results["method"]))

    def curve(self, study: str, kind: str, method: str, task: str = "") -> pd.DataFrame:
        """Rows of ``curves``, or of those of a task, in order of their value."""
        c = self.by_task[self.by_task["task"] == task] if task else self.curves
        found = c[(c["study"] == study) & (c["kind"] == kind) & (c["method"] == method)]
        return found.sort_values("value", ignore_index=True)

    def kinds(self, study: str) -> list[str]:
        return list(dict.fromkeys(self.curves.loc[self.curves["study"] == study, "kind"]))


def read_studies(folder: RunFolder) -> Studies:
    """Read studies whose trainings and tests are finished, or the tables that are kept of them.

    Raises:
        SlatError: a file is missing or damaged.
    """
    trained = (folder / "units").is_dir()
    config, record = KeptConfig.of(folder), StudyPoints.read(folder / "points.json")
    results, curves, by_task = _computed(folder, config, record) if trained else _kept(folder)
    return Studies(
        config=config,
        environment=Environment.read(folder / "environment.json"),
        tuning=record.tuning,
        results=results,
        curves=curves,
        by_task=by_task,
        importance=_csv(folder / "importance.csv"),
        screened=len(_csv(folder / "screening.csv")),
    )


def _kept(folder: RunFolder) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the tables that are kept of studies without their trainings: results, curves, and those of each task."""
    results = read_csv(folder / "results.csv")
    results = results.assign(error=results["error"].astype(object).fillna(""))
    return results, read_csv(folder / "curves.csv"), _csv(folder / "curves_by_task.csv")


def _computed(
    folder: RunFolder, config: KeptConfig, record: StudyPoints
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the same from what the trainings left."""
    rows = [_row(folder, point) for point in record.points]
    results = pd.DataFrame([row.model_dump() for row in rows], columns=list(StudyRow.model_fields))
    keyed = results.assign(key=[point.key for point in record.points])
    kept = _Kept(folder, config)

    def curves(task: int | None) -> Iterator[dict[str, Any]]:
        yield from _training_curves(keyed, kept, config, task)
        yield from _perturbation_curves(record.reference, kept, task)

    names = [task.name for task in config.tasks]
    of_each = [{"task": name, **row} for number, name in enumerate(names) for row in curves(number)]
    return results, pd.DataFrame(curves(None)), pd.DataFrame(of_each if len(names) > 1 else [])


class _Kept:
    """Predictions of the trained units in a folder, by task, and what they come to; read and drawn once, as studies
    share trainings."""

    def __init__(self, folder: RunFolder, config: KeptConfig):
        self._units, self._seed = folder / "units", config.seed
        self._metrics = [task.metric for task in config.tasks]
        self._read: dict[str, list[Predictions]] = {}
        self._measured: dict[tuple[tuple[str, ...], int, bool], Robustness] = {}

    def __contains__(self, key: str) -> bool:
        return (self._units / f"{key}.test.json").is_file()

    def __getitem__(self, key: str) -> list[Predictions]:
        if key not in self._read:
            tested, path = Tested.read(self._units / f"{key}.test.json"), self._units / f"{key}.test.safetensors"
            tests = enumerate(tested.by_number)
            self._read[key] = [Predictions.read(path, test.sets, number) for number, test in tests]
        return self._read[key]

    def robustness(self, keys: Sequence[str], task: int | None, clean: bool = False) -> Robustness:
        """Return the robustness of trainings with several seeds, on one task or on the mean of all."""
        numbers = range(len(self._metrics)) if task is None else [task]
        return mean_of([self._of_task(tuple(keys), number, clean) for number in numbers])

    def _of_task(self, keys: tuple[str, ...], task: int, clean: bool) -> Robustness:
        known = (keys, task, clean)
        if known not in self._measured:
            said = [self[key][task] for key in keys]
            seeds = [p.clean for p in said] if clean else said
            self._measured[known] = Robustness.of(seeds, self._metrics[task], self._seed)
        return self._measured[known]


def _row(folder: RunFolder, point: StudyPoint) -> StudyRow:
    trained = read_training(folder / "units" / f"{point.key}.train.json")
    names = {
        **point.model_dump(exclude={"key"}),
        "seed": trained.job.seed,
        "learning_rate": trained.job.learning_rate,
    }
    if isinstance(trained, Failed):
        return StudyRow(**names, error=trained.error)
    return StudyRow(
        **names,
        params=trained.params,
        shared=_shared(trained.structure or {}),
        validation=trained.validation.quality,
        quality=Tested.read(folder / "units" / f"{point.key}.test.json").quality,
        seconds=trained.seconds,
    )


def _shared(structure: dict[str, Any]) -> float:
    """Part of a pool's parameters that several tasks use; nan where there is none."""
    counts = shared_by(structure) if "tasks" in structure else {}
    return 1 - counts[1] / sum(counts.values()) if sum(counts.values()) else np.nan


def _training_curves(
    results: pd.DataFrame, kept: _Kept, config: KeptConfig, task: int | None
) -> Iterator[dict[str, Any]]:
    """A row a setting of the studies that train; a setting at which every seed diverged is left out."""
    held = config
    references = {"sparsity": held.weight, "sharing": held.sharing, "noise": 0.0}
    trained = results[results["error"] == ""]
    for (study, kind, method), part in trained.groupby(["study", "kind", "method"], sort=False):
        settings = dict(iter(part.groupby("value", dropna=False)))
        measured = {value: kept.robustness([*rows["key"]], task, clean=True) for value, rows in settings.items()}
        reference = measured.get(references[str(study)])
        for value, found in measured.items():
            yield {
                "study": study,
                "kind": kind,
                "method": method,
                "value": value,
                **_measured(found.measured[0], found.drawn[:, 0]),
                **_change(found, 0, reference, 0),
                "params": settings[value]["params"].mean(),
                "shared": settings[value]["shared"].mean(),
                "seeds": len(settings[value]),
            }


def _perturbation_curves(
    reference: Sequence[ReferencePoint], kept: _Kept, task: int | None
) -> Iterator[dict[str, Any]]:
    """A row a kind, ratio and method: each method as trained without noise, on perturbed text."""
    keys: dict[str, list[str]] = {}
    for point in reference:
        if point.key in kept:
            keys.setdefault(point.method, []).append(point.key)
    for method, trained in keys.items():
        found = kept.robustness(trained, task)
        for kind in kinds_of(found.sets):
            for place in places_of(found.sets, kind):
                yield {
                    "study": "perturbation",
                    "kind": kind,
                    "method": method,
                    "value": found.sets[place][1],
                    **_measured(found.measured[place], found.drawn[:, place]),
                    **_change(found, place, found, 0),
                    "params": np.nan,
                    "shared": np.nan,
                    "seeds": len(trained),
                }


def _measured(value: float, drawn: np.ndarray, name: str = "quality", prefix: str = "") -> dict[str, float]:
    low, high = interval(drawn)
    return {name: float(value), f"{prefix}low": low, f"{prefix}high": high}


def _change(found: Robustness, place: int, reference: Robustness | None, its_place: int) -> dict[str, float]:
    """From the reference to ``found``, on the same draws of texts."""
    if reference is None:
        return dict.fromkeys(("change", "change_low", "change_high"), np.nan)
    value = found.measured[place] - reference.measured[its_place]
    return _measured(value, found.drawn[:, place] - reference.drawn[:, its_place], "change", "change_")


def _csv(path: Path) -> pd.DataFrame:
    """Read a CSV; empty if none."""
    return read_csv(path) if path.is_file() and path.stat().st_size > 1 else pd.DataFrame()
