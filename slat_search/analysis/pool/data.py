"""What a run over several tasks left, as rows: one a task, method and seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ...run_folder import RunFolder, read_json
from ..robustness import Predictions, retained
from ..shared import part_of
from ..tables import read_csv, read_structures, read_trials

POOLED, ALONE = "one pool", "each alone"


@dataclass(frozen=True)
class PoolData:
    """Everything that the run left, in memory.

    Attributes:
        config, environment: of the run.
        trials, history: of the search, a row a trial and a row a report.
        tuning: what was tried and chosen, by method.
        results: a row a task, method and seed; ``params`` counts all tasks together, ``own`` what the task uses.
        transfer: a row a structure, task and seed; empty where nothing was transferred.
        structures: label -> JSON of each found pool.
        predictions: what the models of each seed say of the test texts, by task and method; empty where it was not
            kept.
    """

    config: dict[str, Any]
    environment: dict[str, Any]
    trials: pd.DataFrame
    history: pd.DataFrame
    tuning: dict[str, Any]
    results: pd.DataFrame
    transfer: pd.DataFrame
    structures: dict[str, dict[str, Any]]
    predictions: dict[str, dict[str, list[Predictions]]]

    @property
    def tasks(self) -> list[str]:
        return [task["name"] for task in self.environment["tasks"]]


def read_pool(run: RunFolder) -> PoolData:
    """Read a run whose trainings and tests are finished.

    Raises:
        SlatError: a file is missing or damaged.
    """
    environment, selection = (read_json(run / f"{name}.json") for name in ("environment", "selection"))
    alone = read_alone(run)
    rows = [row for final in selection["finals"] for row in _pooled(run, final)]
    rows += [_alone(run, final) for final in alone["finals"]]
    results = pd.DataFrame(rows)
    apart = results["how"] == ALONE  # all tasks together are as large as their sum
    by_seed = results.groupby(["method", "seed"])
    results["params"] = results["params"].where(~apart, by_seed["own"].transform("sum"))
    results["bytes"] = results["bytes"].astype(float)
    sums = by_seed["bytes"].transform(lambda part: part.sum(skipna=False))
    results["bytes"] = results["bytes"].where(~apart, sums)
    transfer = run / "transfer.csv"
    return PoolData(
        config=yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")),
        environment=environment,
        trials=read_trials(run),
        history=read_csv(run / "history.csv"),
        tuning={**selection["tuning"], **alone["tuning"]},
        results=results.assign(params=results["params"].astype(int)),
        transfer=pd.read_csv(transfer) if transfer.is_file() and transfer.stat().st_size > 1 else pd.DataFrame(),
        structures=read_structures(run),
        predictions=predictions(run),
    )


def read_kept_pool(run: RunFolder) -> PoolData:
    """Read what is kept of a run without its trainings: the tables that it wrote.

    Raises:
        SlatError: a file is missing or damaged.
    """
    selection, alone = read_json(run / "selection.json"), read_alone(run)
    transfer = run / "transfer.csv"
    return PoolData(
        config=yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")),
        environment=read_json(run / "environment.json"),
        trials=read_trials(run),
        history=read_csv(run / "history.csv"),
        tuning={**selection["tuning"], **alone["tuning"]},
        results=read_csv(run / "results.csv", keep_default_na=False, na_values=[""]),
        transfer=read_csv(transfer) if transfer.is_file() and transfer.stat().st_size > 1 else pd.DataFrame(),
        structures=read_structures(run),
        predictions={},
    )


def read_alone(run: RunFolder) -> dict[str, Any]:
    """What each task was trained with alone: ``finals`` and ``tuning``, both empty where none was."""
    path = run / "alone.json"
    return read_json(path) if path.is_file() else {"finals": [], "tuning": {}}


def _pooled(run: RunFolder, final: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of one training of all tasks together."""
    trained, tested = (read_json(run / "units" / f"{final['key']}.{name}.json") for name in ("train", "test"))
    structure = trained.get("structure") or trained["unit"]["options"].get("structure", {})
    for number, (task, found) in enumerate(tested["tasks"].items()):
        said = _said(run / "units" / f"{final['key']}.test.safetensors", found, f"{number}.")
        own = _own(structure, number) if final["structure"] else trained["params"]
        told = trained["validation"]["tasks"][task]
        yield {**_row(final, trained, found, said, task), "how": POOLED, "own": own, "validation": told["quality"]}


def _alone(run: RunFolder, final: dict[str, Any]) -> dict[str, Any]:
    """The row of one training of one task alone."""
    folder = run / "units" / "alone" / final["task"]
    trained, tested = (read_json(folder / f"{final['key']}.{name}.json") for name in ("train", "test"))
    said = _said(folder / f"{final['key']}.test.safetensors", tested, "")
    own = {"how": ALONE, "own": trained["params"], "validation": trained["validation"]["quality"]}
    return {**_row(final, trained, tested, said, final["task"]), **own}


def _row(
    final: dict[str, Any], trained: dict[str, Any], tested: dict[str, Any], said: Predictions, task: str
) -> dict[str, Any]:
    qualities = np.array([tested["quality"], *(point["quality"] for point in tested["perturbed"])])
    return {
        "task": task,
        "family": "slat" if final["structure"] else "baseline",
        "method": final["label"],
        "name": final["name"],
        "tuned_as": final.get("tuned_as", final["name"]),
        "seed": trained["unit"]["seed"],
        "learning_rate": trained["unit"]["learning_rate"],
        "quality": tested["quality"],
        "retained": float(retained(said.sets, qualities)),
        "params": trained["params"],
        "bytes": trained.get("bytes"),
        "steps": trained["steps"],
        "train_seconds": trained["seconds"],
        "memory": trained["memory"],
    }


def _said(path: Path, tested: dict[str, Any], prefix: str) -> Predictions:
    sets = [(point["kind"], point["ratio"]) for point in tested["perturbed"]]
    return Predictions.read(path, sets, prefix)


def _own(structure: dict[str, Any], task: int) -> int:
    """Parameters of a shared structure that a task uses."""
    return sum(module["params"] for module in part_of(structure, task)["modules"])


def predictions(run: RunFolder) -> dict[str, dict[str, list[Predictions]]]:
    """What the models of each seed say of the test texts, by task and method."""
    found: dict[str, dict[str, list[Predictions]]] = {}
    for final in read_json(run / "selection.json")["finals"]:
        told = read_json(run / "units" / f"{final['key']}.test.json")["tasks"]
        for number, (task, tested) in enumerate(told.items()):
            said = _said(run / "units" / f"{final['key']}.test.safetensors", tested, f"{number}.")
            found.setdefault(task, {}).setdefault(final["label"], []).append(said)
    for final in read_alone(run)["finals"]:
        folder, task = run / "units" / "alone" / final["task"], final["task"]
        said = _said(folder / f"{final['key']}.test.safetensors", read_json(folder / f"{final['key']}.test.json"), "")
        found.setdefault(task, {}).setdefault(final["label"], []).append(said)
    return found
