"""Tables of a run, from the files that its stages left."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..errors import SlatError
from ..run_folder import RunFolder, read_json
from . import robustness
from .formats import to_latex, to_markdown
from .fronts import Reference, hypervolumes, nondominated
from .robustness import Predictions, Robustness, retained


@dataclass(frozen=True)
class RunData:
    """Everything that a run left, in memory.

    Attributes:
        config: the resolved configuration.
        environment: versions, hardware, and sizes of task and model.
        trials: one row a trial.
        history: one row a report of a trial.
        selection: which trials were refitted, which learning rates were tried and chosen.
        results: one row a method and seed.
        perturbed: one row a method, seed, perturbation kind and ratio (0 included).
        structures: label -> structure JSON of the refitted members.
        predictions: label -> what the model of each seed says of the test texts; empty where it was not kept.
        robust: the table of :func:`.robustness.table`.
    """

    config: dict[str, Any]
    environment: dict[str, Any]
    trials: pd.DataFrame
    history: pd.DataFrame
    selection: dict[str, Any]
    results: pd.DataFrame
    perturbed: pd.DataFrame
    structures: dict[str, dict[str, Any]]
    predictions: dict[str, list[Predictions]]
    kept_robust: pd.DataFrame | None = None

    @cached_property
    def robustness(self) -> dict[str, Robustness]:
        """Of each method, by label; without intervals where predictions were not kept."""
        metric, seed = self.config["task"]["metric"], self.config["seed"]
        if not self.predictions:
            return {str(method): _measured(rows) for method, rows in self.perturbed.groupby("method", sort=False)}
        return {method: Robustness.of(seeds, metric, seed) for method, seeds in self.predictions.items()}

    @cached_property
    def robust(self) -> pd.DataFrame:
        if self.kept_robust is not None:
            return self.kept_robust
        return robustness.table(self.predictions, self.robustness)

    @property
    def reference(self) -> Reference:
        return Reference(self.environment["task"]["majority"], self.environment["model"]["params"])


def _measured(curves: pd.DataFrame) -> Robustness:
    """Means over seeds of one method, as they were measured."""
    means = curves.groupby(["kind", "ratio"], sort=False)["quality"].mean()
    perturbed = means[means.index.get_level_values("ratio") > 0]
    clean = means[means.index.get_level_values("ratio") == 0].iloc[0]
    measured = np.array([clean, *perturbed])
    return Robustness((("clean", 0.0), *perturbed.index), measured, measured[None])


def read_kept(run: RunFolder) -> RunData:
    """Read what is kept of a run without its trainings: the tables that it wrote.

    Raises:
        SlatError: a file is missing, damaged, or of a version that kept less.
    """
    results = read_csv(run / "results.csv", keep_default_na=False, na_values=[""], dtype={"structure": str})
    if missing := {"group", "budget", "memory", "steps"} - set(results):
        raise SlatError(f"{run.root}: results.csv has no column {min(missing)}; it was made by another version")
    return RunData(
        config=yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")),
        environment=read_json(run / "environment.json"),
        trials=read_trials(run),
        history=read_csv(run / "history.csv"),
        selection=read_json(run / "selection.json"),
        results=results,
        perturbed=read_csv(run / "perturbation.csv"),
        predictions={},
        structures=read_structures(run),
        kept_robust=read_csv(run / "robustness.csv"),
    )


def read_trials(run: RunFolder) -> pd.DataFrame:
    """``trials.csv``; a digest is text, even where it has digits alone."""
    return read_csv(run / "trials.csv", dtype={"structure": str})


def read_csv(path: Path, **options: Any) -> pd.DataFrame:
    """A table that a run wrote.

    Raises:
        SlatError: missing, empty or damaged.
    """
    try:
        return pd.read_csv(path, **options)
    except FileNotFoundError as error:
        raise SlatError(f"{path}: no such file") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise SlatError(f"{path}: damaged or empty ({error})") from error


def read_run(run: RunFolder) -> RunData:
    """Read a run whose trainings and tests are finished.

    Raises:
        SlatError: a file is missing, damaged, or of a version that kept less.
    """
    environment = read_json(run / "environment.json")
    selection = read_json(run / "selection.json")
    if any("group" not in final for final in selection["finals"]):
        raise SlatError(f"{run.root}: the run was made by an earlier version, which kept less; run it again")
    rows, curves = [], []
    predictions: dict[str, list[Predictions]] = {}
    for final in selection["finals"]:
        row, curve, said = _final_rows(run, final, environment)
        rows.append(row)
        curves += curve
        predictions.setdefault(final["label"], []).append(said)
    return RunData(
        config=yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8")),
        environment=environment,
        trials=read_trials(run),
        history=read_csv(run / "history.csv"),
        selection=selection,
        results=pd.DataFrame(rows),
        perturbed=pd.DataFrame(curves),
        predictions=predictions,
        structures=read_structures(run),
    )


def read_structures(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Label -> JSON of each found structure that was trained."""
    return {path.stem: read_json(path) for path in sorted((run / "structures").glob("slat-*.json"))}


def _final_rows(
    run: RunFolder, final: dict[str, Any], environment: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]], Predictions]:
    trained = read_json(run / "units" / f"{final['key']}.train.json")
    tested = read_json(run / "units" / f"{final['key']}.test.json")
    unit, validation = trained["unit"], trained["validation"]
    names = {"method": final["label"], "seed": unit["seed"]}
    curve = [{**names, **point} for point in tested["perturbed"]]
    kinds = dict.fromkeys(point["kind"] for point in curve)
    curve += [{**names, "kind": kind, "ratio": 0.0, "quality": tested["quality"]} for kind in kinds]
    sets = [(point["kind"], point["ratio"]) for point in tested["perturbed"]]
    qualities = np.array([tested["quality"], *(point["quality"] for point in tested["perturbed"])])
    said = Predictions.read(run / "units" / f"{final['key']}.test.safetensors", sets)
    backbone = environment["model"]["params"]
    row = {
        "task": environment["task"]["name"],
        "model": environment["model"]["name"],
        "family": "slat" if final["structure"] else "baseline",
        "method": final["label"],
        "name": final["name"],
        "structure": final["structure"],
        "group": final["group"],
        "budget": final["budget"],
        "seed": unit["seed"],
        "learning_rate": unit["learning_rate"],
        "noise_kind": unit["noise_kind"],
        "noise_ratio": unit["noise_ratio"],
        "validation": validation["quality"],
        "validation_retained": validation["retained"],
        "quality": tested["quality"],
        "retained": float(retained(said.sets, qualities)),
        "params": trained["params"],
        "bytes": trained.get("bytes"),
        "params_percent": 100 * trained["params"] / backbone,
        "compression": backbone / trained["params"] if trained["params"] else float("inf"),
        "head_params": environment["model"]["head_params"],
        "train_seconds": trained["seconds"],
        "seconds_per_text": tested["seconds_per_text"],
        "memory": trained["memory"],
        "steps": trained["steps"],
    }
    return row, curve, said


def compare(results: pd.DataFrame) -> pd.DataFrame:
    """One row a method: means and standard deviations over seeds, and whether it is on the front of the means. Seeds
    that searched again may have found different sizes; ``structure`` is that of the first seed."""
    if "bytes" not in results:  # of an earlier version
        results = results.assign(bytes=np.nan)
    grouped = results.groupby("method", sort=False)
    table = grouped.agg(
        name=("name", "first"),
        family=("family", "first"),
        structure=("structure", "first"),
        params=("params", "mean"),
        bytes=("bytes", "mean"),
        params_percent=("params_percent", "mean"),
        compression=("compression", "mean"),
        learning_rate=("learning_rate", "first"),
        validation=("validation", "mean"),
        quality=("quality", "mean"),
        quality_sd=("quality", "std"),
        retained=("retained", "mean"),
        retained_sd=("retained", "std"),
        train_seconds=("train_seconds", "mean"),
        seeds=("seed", "count"),
    ).reset_index()
    table["params"] = table["params"].round().astype(int)
    table["on_front"] = nondominated(table)
    return table.sort_values(["family", "params"], ascending=[False, True], ignore_index=True)


def found_ones(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of found structures."""
    return table[table["family"] == "slat"]


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of methods that leave an adapter: all but full fine-tuning."""
    return table[table["params_percent"] < 100]


def display(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The comparison as people read it: text cells, spreads beside means."""

    def spread(mean: pd.Series, sd: pd.Series) -> list[str]:
        return [f"{m:.3f}" if np.isnan(s) else f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, sd, strict=True)]

    return pd.DataFrame(
        {
            "method": table["name"],
            "parameters": [f"{p:,}" for p in table["params"]],
            **stored(table),
            "% of backbone": [f"{p:.3f}" for p in table["params_percent"]],
            "compression": ["-" if np.isinf(c) else f"{c:,.0f}x" for c in table["compression"]],
            f"validation {metric}": [f"{v:.3f}" for v in table["validation"]],
            f"test {metric}": spread(table["quality"], table["quality_sd"]),
            "retained": spread(table["retained"], table["retained_sd"]),
            "front": ["yes" if on else "" for on in table["on_front"]],
            "seconds": [f"{s:.0f}" for s in table["train_seconds"]],
        }
    )


def stored(table: pd.DataFrame) -> dict[str, list[str]]:
    """The column of stored bytes, where they are known."""
    sizes = table["bytes"]
    return {} if sizes.isna().all() else {"stored bytes": ["-" if np.isnan(b) else f"{b:,.0f}" for b in sizes]}


def write_tables(run: RunFolder, data: RunData) -> pd.DataFrame:
    """``results comparison pareto perturbation robustness`` as CSV and ``hypervolume.json``; returns the comparison."""
    table = compare(data.results)
    shown = display(table, data.config["task"]["metric"])
    data.results.to_csv(run / "results.csv", index=False)
    data.perturbed.to_csv(run / "perturbation.csv", index=False)
    table.to_csv(run / "comparison.csv", index=False)
    _write(run / "comparison.md", to_markdown(shown))
    _write(run / "comparison.tex", to_latex(shown))
    data.robust.to_csv(run / "robustness.csv", index=False)
    table[table["on_front"]].to_csv(run / "pareto.csv", index=False)
    _write(run / "hypervolume.json", json.dumps(hypervolumes_of(data), indent=2) + "\n")
    return table


def hypervolumes_of(data: RunData) -> dict[str, Any]:
    """Those of a run on test, and what they are measured from."""
    return {
        "reference": vars(data.reference),
        "interval": "95 % bootstrap over seeds",
        "note": "the linear head alone belongs to each set",
        **hypervolumes(data.results, data.reference, data.config["seed"]),
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
