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
from ..robustness import Predictions, Robustness, kinds_of, places_of
from ..statistics import interval


@dataclass(frozen=True)
class Studies:
    """Everything that tables and figures of the studies need.

    Attributes:
        config: as in its YAML.
        environment: see ``environment.json``.
        tuning: by method, the learning rates that were tried and chosen.
        results: ``study method kind value seed learning_rate params validation quality seconds error``, a row a
            point; quality is that of clean test text.
        curves: ``study kind method value quality low high change change_low change_high params seeds``, a row a
            setting: means over seeds, and the change from the study's reference (its sparsity weight, or ratio 0).
            Intervals are 95 % bootstrap over texts and seeds; a change is drawn on the same texts.
        importance: see :func:`..importance.importances`; empty without a screening.
        screened: how many trials the screening had.
    """

    config: dict[str, Any]
    environment: dict[str, Any]
    tuning: dict[str, dict[str, Any]]
    results: pd.DataFrame
    curves: pd.DataFrame
    importance: pd.DataFrame
    screened: int

    @property
    def metric(self) -> str:
        return str(self.config["task"]["metric"])

    @property
    def quality_label(self) -> str:
        return f"test {self.metric}"

    @property
    def methods(self) -> list[str]:
        """Names in order, the search first."""
        return list(dict.fromkeys(self.results["method"]))

    def curve(self, study: str, kind: str, method: str) -> pd.DataFrame:
        """Rows of ``curves`` in order of their value."""
        c = self.curves
        found = c[(c["study"] == study) & (c["kind"] == kind) & (c["method"] == method)]
        return found.sort_values("value", ignore_index=True)

    def kinds(self, study: str) -> list[str]:
        return list(dict.fromkeys(self.curves.loc[self.curves["study"] == study, "kind"]))


def read_studies(folder: RunFolder) -> Studies:
    """Read studies whose trainings and tests are finished.

    Raises:
        SlatError: a file is missing or damaged.
    """
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    record = read_json(folder / "points.json")
    results = pd.DataFrame([_row(folder, point) for point in record["points"]])
    predictions = _Kept(folder)
    curves = [
        *_training_curves(results, predictions, config),
        *_perturbation_curves(record["reference"], predictions, config),
    ]
    return Studies(
        config=config,
        environment=read_json(folder / "environment.json"),
        tuning=record["tuning"],
        results=results.drop(columns="key"),
        curves=pd.DataFrame(curves),
        importance=_csv(folder / "importance.csv"),
        screened=len(_csv(folder / "screening.csv")),
    )


class _Kept:
    """Predictions of the trained units in a folder, read once."""

    def __init__(self, folder: RunFolder):
        self._units = folder / "units"
        self._read: dict[str, Predictions] = {}

    def __getitem__(self, key: str) -> Predictions:
        if key not in self._read:
            sets = [(p["kind"], p["ratio"]) for p in read_json(self._units / f"{key}.test.json")["perturbed"]]
            self._read[key] = Predictions.read(self._units / f"{key}.test.safetensors", sets)
        return self._read[key]

    def __contains__(self, key: str) -> bool:
        return (self._units / f"{key}.test.json").is_file()


def _row(folder: RunFolder, point: dict[str, Any]) -> dict[str, Any]:
    trained = read_json(folder / "units" / f"{point['key']}.train.json")
    names = {key: point[key] for key in ("study", "method", "kind", "value")}
    unit = {key: trained["unit"][key] for key in ("seed", "learning_rate")}
    if "error" in trained:
        nothing = dict.fromkeys(("params", "validation", "quality", "seconds"), np.nan)
        return {**names, **unit, **nothing, "error": trained["error"], "key": point["key"]}
    return {
        **names,
        **unit,
        "params": trained["params"],
        "validation": trained["validation"]["quality"],
        "quality": read_json(folder / "units" / f"{point['key']}.test.json")["quality"],
        "seconds": trained["seconds"],
        "error": "",
        "key": point["key"],
    }


def _training_curves(results: pd.DataFrame, predictions: _Kept, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row a setting of the studies that train; a setting at which every seed diverged is left out."""
    references = {"sparsity": config["sensitivity"]["weight"], "noise": 0.0}
    trained = results[results["error"] == ""]
    for (study, kind, method), part in trained.groupby(["study", "kind", "method"], sort=False):
        settings = dict(iter(part.groupby("value", dropna=False)))
        measured = {
            value: _robustness([predictions[key].clean for key in rows["key"]], config)
            for value, rows in settings.items()
        }
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
                "seeds": len(settings[value]),
            }


def _perturbation_curves(
    reference: Sequence[dict[str, Any]], predictions: _Kept, config: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row a kind, ratio and method: each method as trained without noise, on perturbed text."""
    keys: dict[str, list[str]] = {}
    for point in reference:
        if point["key"] in predictions:
            keys.setdefault(point["method"], []).append(point["key"])
    for method, trained in keys.items():
        found = _robustness([predictions[key] for key in trained], config)
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
                    "seeds": len(trained),
                }


def _robustness(seeds: Sequence[Predictions], config: dict[str, Any]) -> Robustness:
    return Robustness.of(seeds, config["task"]["metric"], config["seed"])


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
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()
