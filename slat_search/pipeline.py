"""One run, end to end: search, choose, refit and baselines, test, report. Each stage keeps what it made."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from .analysis.fronts import Reference, choose_members
from .analysis.report import analyse
from .analysis.tables import best_found
from .baselines import apply_method
from .config import Config, load_config
from .errors import SlatError
from .run_folder import RunFolder, write_json, write_text
from .structure import Structure, find_blocks, find_sites
from .tasks import SPLITS
from .training.bundle import save_bundle
from .training.context import Context, prepare
from .training.units import Unit, space
from .tuning.fixed import UnitPool
from .tuning.runtime import ray_session
from .tuning.search import Trial, run_search

Say = Callable[[str], None]
_PACKAGES = ("slat-search", "torch", "transformers", "peft", "ray", "optuna", "datasets", "pandas", "numpy", "moocore")


def run(
    config: Config | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
    say: Say = print,
) -> RunFolder:
    """Do everything that a configuration asks for; see ``slat run --help``.

    Args:
        config: a configuration or the path of its YAML.
        out: run folder; ``runs/<name>`` by default.
        resume: go on with a run that was interrupted.
        overwrite: throw an existing run away first.
        address: Ray cluster to run on; a Ray of our own on this machine by default.
        say: takes a line of progress.

    Raises:
        SlatError: wrong input, or a folder that holds another or an unfinished run.
    """
    if not isinstance(config, Config):
        config = load_config(config)
    folder = RunFolder(out or Path("runs") / config.name)
    began = time.perf_counter()
    with folder.lock():
        if overwrite:
            folder.clear()
        if _already_done(folder, config, resume):
            say(f"{folder.root} is done already; its report: {folder / 'report.html'}")
            return folder
        context, task = prepare(config)
        write_text(folder / "config.yaml", config.to_yaml())
        sizes = {name: len(rows) for name, rows in task.splits.items()}
        texts = " / ".join(str(sizes[split]) for split in SPLITS)
        say(f"task {task.name}: {texts} texts, {len(task.labels)} classes")
        say(f"model {config.model.name}: {context.backbone_params:,} frozen parameters")
        say(f"supernet: {check_methods(context).describe()}")
        write_json(folder / "environment.json", environment(context, sizes))
        with ray_session(address):
            trials = run_search(config, context, folder / "search", say)
            members = choose(trials, context)
            _write_trials(folder, trials, members)
            pool = UnitPool(config, context, folder / "units", say)
            finals = _train_all(pool, config, members, folder, say)
            say(f"test: {len(finals)} trained models, clean and perturbed; read once")
            pool.evaluate([unit for unit, _ in finals])
            table, _ = analyse(folder)
            _save_adapters(folder, context, pool, finals, best_found(table)["method"])
        write_json(folder / "done.json", {"seconds": round(time.perf_counter() - began, 1)})
    say("")
    say((folder / "comparison.md").read_text())
    say(f"done in {time.perf_counter() - began:.0f} s; report: {folder / 'report.html'}")
    return folder


def _already_done(folder: RunFolder, config: Config, resume: bool) -> bool:
    """Whether nothing is left to do.

    Raises:
        SlatError: an unfinished run without ``--resume``, or a run of another configuration.
    """
    if not folder.exists:
        if any(p.name != ".lock" for p in folder.root.iterdir()):
            raise SlatError(f"--out: {folder.root} is not empty and not a run folder; choose another")
        return False
    if load_config(folder / "config.yaml") != config:
        raise SlatError(
            f"--out: {folder.root} holds a run with another configuration; use --overwrite or another --out"
        )
    if not folder.is_done and not resume:
        raise SlatError(f"--out: {folder.root} holds an unfinished run; use --resume to go on or --overwrite")
    return folder.is_done


def check_methods(context: Context) -> Structure:
    """Put every method on the backbone once, before hours are spent; returns the whole supernet.

    Raises:
        SlatError: a method or the search space does not fit this model.
    """
    config, backbone = context.config, context.backbone().model
    for baseline in config.baselines:
        apply_method(baseline.method, backbone, baseline.options).undo()
    return space(config).supernet(find_sites(backbone, config.space.include, config.space.exclude))


def choose(trials: Sequence[Trial], context: Context) -> list[Trial]:
    """Members of the Pareto set on validation, among the trials that ran to their end.

    Raises:
        SlatError: no trial did.
    """
    complete = [t for t in trials if t.status == "completed"]
    if not complete:
        raise SlatError(
            "search: no trial ran to its end; allow more trials or a larger search.scheduler.reduction_factor"
        )
    unique = list({t.structure.digest: t for t in complete if t.structure is not None}.values())
    frame = pd.DataFrame([t.measures for t in unique])
    reference = Reference(context.majority, context.backbone_params)
    return [unique[i] for i in choose_members(frame, context.config.search.members, reference)]


def _train_all(
    pool: UnitPool, config: Config, members: list[Trial], folder: RunFolder, say: Say
) -> list[tuple[Unit, dict[str, Any]]]:
    """Refit the members and tune the baselines; returns every final unit with its row of ``selection.json``."""
    refits = [(_member_unit(t, folder), t) for t in members]
    tuned = [
        (b, [Unit(b.method, b.label, lr, 0, options=b.options) for lr in b.learning_rates]) for b in config.baselines
    ]
    first = [u for u, _ in refits] + [u for _, units in tuned for u in units]
    say(f"refit {len(members)} members, tune {len(tuned)} baselines, then repeat each with {config.seeds} seeds")
    results = pool.train(first)
    chosen: list[tuple[Unit, str, str]] = [(u, _short_name(t), t.structure.digest) for u, t in refits if t.structure]
    tuning: dict[str, Any] = {}
    for baseline, units in tuned:
        tried = {f"{u.learning_rate:g}": _validation(results[u.key]) for u in units}
        best = max(units, key=lambda u: _validation(results[u.key]) or -1.0)
        if _validation(results[best.key]) is None:
            raise SlatError(f"baselines.{baseline.method}: training diverged at every learning rate")
        tuning[baseline.title] = {"tried": tried, "chosen": f"{best.learning_rate:g}"}
        chosen.append((best, baseline.title, ""))
    finals = [
        (seeded, {"key": seeded.key, "label": unit.label, "name": name, "structure": digest})
        for unit, name, digest in chosen
        for seeded in (replace(unit, seed=s) for s in range(config.seeds))
    ]
    results = pool.train([u for u, _ in finals])
    finals = [(u, row) for u, row in finals if "error" not in results[u.key]]
    write_json(folder / "selection.json", {"finals": [row for _, row in finals], "tuning": tuning})
    return finals


def _validation(result: dict[str, Any]) -> float | None:
    return None if "error" in result else result["validation"]["quality"]


def _member_unit(trial: Trial, folder: RunFolder) -> Unit:
    assert trial.structure is not None
    label = f"slat-{trial.structure.digest[:6]}"
    write_text(folder / "structures" / f"{label}.json", trial.structure.to_json())
    s = trial.sampled
    return Unit(
        "slat",
        label,
        s["learning_rate"],
        0,
        s["noise_kind"],
        s["noise_ratio"],
        {"structure": trial.structure.to_dict()},
    )


def _short_name(trial: Trial) -> str:
    params = trial.structure.params if trial.structure else 0
    size = f"{params / 1000:.1f}k" if params >= 1000 else str(params)
    return f"SLAT {size} (trial {trial.number})"


def _write_trials(folder: RunFolder, trials: Sequence[Trial], members: Sequence[Trial]) -> None:
    refitted = {t.number for t in members}
    rows = [
        {
            "trial": t.number,
            "status": t.status,
            **t.sampled,
            **t.measures,
            "structure": t.structure.digest if t.structure else "",
            "refitted": "yes" if t.number in refitted else "",
            "error": t.error or "",
        }
        for t in trials
    ]
    write_text(folder / "trials.csv", pd.DataFrame(rows).to_csv(index=False))
    history = [{"trial": t.number, **report} for t in trials for report in t.history]
    write_text(folder / "history.csv", pd.DataFrame(history).to_csv(index=False))


def _save_adapters(
    folder: RunFolder, context: Context, pool: UnitPool, finals: Sequence[tuple[Unit, dict[str, Any]]], best: str
) -> None:
    """Each found structure with the weights of its best seed on validation; ``best.json`` names the one to use."""
    results = pool.train([u for u, _ in finals])
    by_label: dict[str, list[Unit]] = {}
    for unit, _ in finals:
        if unit.method == "slat":
            by_label.setdefault(unit.label, []).append(unit)
    for label, units in by_label.items():
        unit = max(units, key=lambda u: results[u.key]["validation"]["quality"])
        save_bundle(folder / "adapters" / label, context, unit, pool.state(unit), results[unit.key]["validation"])
    write_json(folder / "adapters" / "best.json", {"adapter": best})


def environment(context: Context, sizes: dict[str, int]) -> dict[str, Any]:
    """Versions, hardware, and the sizes that tables need."""
    backbone = context.backbone().model
    prefix, blocks = find_blocks(backbone)
    columns = [s.name.removeprefix(f"{prefix}.0.") for s in find_sites(backbone) if s.layer == 0]
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "hardware": {
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "task": {
            "name": context.config.task.name,
            "labels": list(context.labels),
            "majority": context.majority,
            **sizes,
        },
        "model": {
            "name": context.config.model.name,
            "params": context.backbone_params,
            "head_params": context.head_params,
            "layers": len(blocks),
            "site_columns": columns,
        },
    }
