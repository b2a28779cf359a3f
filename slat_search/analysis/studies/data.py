"""What the sensitivity studies measured: rows, curves with intervals, and the outcome in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ...run_folder import RunFolder, read_json
from ..robustness import Predictions, Robustness, kinds_of, mean_of, places_of
from ..shared import shared_by
from ..statistics import interval
from ..tables import read_csv


@dataclass(frozen=True)
class Studies:
    """Everything that tables and figures of the studies need.

    Attributes:
        config: as in its YAML.
        environment: see ``environment.json``.
        tuning: by method, the learning rates that were tried and chosen.
        results: ``study method kind value seed learning_rate params shared validation quality seconds error``, a row a
            point; quality is that of clean test text, of several tasks their mean; shared is the part of a pool's
            parameters that several tasks use.
        curves: ``study kind method value quality low high change change_low change_high params shared seeds``, a row a
            setting: means over seeds (and tasks), and the change from the study's reference (its weight, or ratio 0).
            Intervals are 95 % bootstrap over texts and seeds; a change is drawn on the same texts.
        by_task: the same of each task, with a column ``task``; empty where there is one.
        importance: see :func:`..importance.importances`; empty without a screening.
        screened: how many trials the screening had.
    """

    config: dict[str, Any]
    environment: dict[str, Any]
    tuning: dict[str, dict[str, Any]]
    results: pd.DataFrame
    curves: pd.DataFrame
    by_task: pd.DataFrame
    importance: pd.DataFrame
    screened: int

    @property
    def tasks(self) -> list[str]:
        """Names, where there are several."""
        return [task["name"] for task in self.config.get("tasks", ())]

    @property
    def metric(self) -> str:
        return f"quality, mean of {len(self.tasks)} tasks," if self.tasks else str(self.config["task"]["metric"])

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
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    record = read_json(folder / "points.json")
    if not (folder / "units").is_dir():
        return _read_kept(folder, config, record)
    results = pd.DataFrame([_row(folder, point) for point in record["points"]])
    kept = _Kept(folder, config)

    def curves(task: int | None) -> Iterator[dict[str, Any]]:
        yield from _training_curves(results, kept, config, task)
        yield from _perturbation_curves(record["reference"], kept, task)

    names = [task["name"] for task in config.get("tasks", ())]
    return Studies(
        config=config,
        environment=read_json(folder / "environment.json"),
        tuning=record["tuning"],
        results=results.drop(columns="key"),
        curves=pd.DataFrame(curves(None)),
        by_task=pd.DataFrame({"task": name, **row} for number, name in enumerate(names) for row in curves(number)),
        importance=_csv(folder / "importance.csv"),
        screened=len(_csv(folder / "screening.csv")),
    )


def _read_kept(folder: RunFolder, config: dict[str, Any], record: dict[str, Any]) -> Studies:
    """What is kept of studies without their trainings: the tables that they wrote."""
    results = read_csv(folder / "results.csv")
    return Studies(
        config=config,
        environment=read_json(folder / "environment.json"),
        tuning=record["tuning"],
        results=results.assign(error=results["error"].astype(object).fillna("")),
        curves=read_csv(folder / "curves.csv"),
        by_task=_csv(folder / "curves_by_task.csv"),
        importance=_csv(folder / "importance.csv"),
        screened=len(_csv(folder / "screening.csv")),
    )


class _Kept:
    """Predictions of the trained units in a folder, by task, and what they come to; read and drawn once, as studies
    share trainings."""

    def __init__(self, folder: RunFolder, config: dict[str, Any]):
        self._units, self._seed = folder / "units", config["seed"]
        self._metrics = [task["metric"] for task in config.get("tasks") or [config["task"]]]
        self._read: dict[str, list[Predictions]] = {}
        self._measured: dict[tuple[tuple[str, ...], int, bool], Robustness] = {}

    def __contains__(self, key: str) -> bool:
        return (self._units / f"{key}.test.json").is_file()

    def __getitem__(self, key: str) -> list[Predictions]:
        if key not in self._read:
            tested = read_json(self._units / f"{key}.test.json")
            path = self._units / f"{key}.test.safetensors"
            parts = tested.get("tasks")
            named = {"": tested} if parts is None else {f"{i}.": part for i, part in enumerate(parts.values())}
            self._read[key] = [
                Predictions.read(path, [(p["kind"], p["ratio"]) for p in part["perturbed"]], prefix)
                for prefix, part in named.items()
            ]
        return self._read[key]

    def robustness(self, keys: Sequence[str], task: int | None, clean: bool = False) -> Robustness:
        """Of trainings with several seeds, on one task or on the mean of all."""
        numbers = range(len(self._metrics)) if task is None else [task]
        return mean_of([self._of_task(tuple(keys), number, clean) for number in numbers])

    def _of_task(self, keys: tuple[str, ...], task: int, clean: bool) -> Robustness:
        known = (keys, task, clean)
        if known not in self._measured:
            said = [self[key][task] for key in keys]
            seeds = [p.clean for p in said] if clean else said
            self._measured[known] = Robustness.of(seeds, self._metrics[task], self._seed)
        return self._measured[known]


def _row(folder: RunFolder, point: dict[str, Any]) -> dict[str, Any]:
    trained = read_json(folder / "units" / f"{point['key']}.train.json")
    names = {key: point[key] for key in ("study", "method", "kind", "value")}
    unit = {key: trained["unit"][key] for key in ("seed", "learning_rate")}
    if "error" in trained:
        nothing = dict.fromkeys(("params", "shared", "validation", "quality", "seconds"), np.nan)
        return {**names, **unit, **nothing, "error": trained["error"], "key": point["key"]}
    return {
        **names,
        **unit,
        "params": trained["params"],
        "shared": _shared(trained.get("structure", {})),
        "validation": trained["validation"]["quality"],
        "quality": read_json(folder / "units" / f"{point['key']}.test.json")["quality"],
        "seconds": trained["seconds"],
        "error": "",
        "key": point["key"],
    }


def _shared(structure: dict[str, Any]) -> float:
    """Part of a pool's parameters that several tasks use; nan where there is none."""
    counts = shared_by(structure) if "tasks" in structure else {}
    return 1 - counts[1] / sum(counts.values()) if sum(counts.values()) else np.nan


def _training_curves(
    results: pd.DataFrame, kept: _Kept, config: dict[str, Any], task: int | None
) -> Iterator[dict[str, Any]]:
    """A row a setting of the studies that train; a setting at which every seed diverged is left out."""
    held = config["sensitivity"]
    references = {"sparsity": held["weight"], "sharing": held.get("sharing"), "noise": 0.0}
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
    reference: Sequence[dict[str, Any]], kept: _Kept, task: int | None
) -> Iterator[dict[str, Any]]:
    """A row a kind, ratio and method: each method as trained without noise, on perturbed text."""
    keys: dict[str, list[str]] = {}
    for point in reference:
        if point["key"] in kept:
            keys.setdefault(point["method"], []).append(point["key"])
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
    """Empty where there is none."""
    return read_csv(path) if path.is_file() and path.stat().st_size > 1 else pd.DataFrame()
