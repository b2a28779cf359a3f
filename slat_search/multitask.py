"""What a run over several tasks does beside a run of one: each task alone, transfers, and an adapter a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from .analysis.pool.data import read_pool
from .analysis.pool.report import illustrate_pool, tabulate_pool
from .config import Config
from .run_folder import RunFolder, results_stay, write_json, write_text
from .structure import SharedStructure
from .training.bundle import save_bundle
from .training.pool import PoolContext, clean, names
from .training.protocol import State, those_of
from .training.shared_bundle import save_shared
from .training.units import Unit
from .tuning.alone import train_alone, train_transfers
from .tuning.finals import Contender, best_seeds, found_ones
from .tuning.fixed import UnitPool
from .tuning.ledger import Trial


def finish(
    config: Config,
    context: PoolContext,
    folder: RunFolder,
    pool: UnitPool,
    finals: Sequence[tuple[Contender, Unit]],
    members: Sequence[Trial],
    say: Callable[[str], None],
) -> None:
    """Adapters and tables of what trained together, then each task alone and transfers, then everything in tables,
    figures and report: whatever fails, what came before it can be used."""
    found = found_ones(finals)
    _save_pools(context, folder, pool, found)
    _save_together(context, folder, pool, [final for final in finals if final not in found])
    tabulate_pool(folder, read_pool(folder))
    _train_apart(config, context, folder, members, say)
    data = read_pool(folder)
    table = tabulate_pool(folder, data)
    with results_stay(folder):
        illustrate_pool(folder, data, table)


def _train_apart(
    config: Config, context: PoolContext, folder: RunFolder, members: Sequence[Trial], say: Callable[[str], None]
) -> None:
    """Train and test each task alone, and what tasks use on others; writes ``alone.json`` and ``transfer.csv``."""
    parts = dict(zip(names(context), context.parts, strict=True))
    pools = {name: UnitPool(part.config, part, folder / "units" / "alone" / name, say) for name, part in parts.items()}
    finals, tuning = train_alone(pools, config, members, say)
    write_json(folder / "alone.json", {"finals": finals, "tuning": tuning})
    _save_alone(context, folder, pools, finals)
    (folder / "transfer.csv").unlink(missing_ok=True)
    if config.multitask.transfer:
        where = folder / "units" / "transfer"
        bare = {name: UnitPool(part.config, clean(part), where / name, say) for name, part in parts.items()}
        best = max(members, key=lambda trial: trial.measures["quality"])
        rows = train_transfers(bare, config, best, say)
        write_text(folder / "transfer.csv", pd.DataFrame(rows).to_csv(index=False))


def _save_pools(
    context: PoolContext, folder: RunFolder, pool: UnitPool, found: Sequence[tuple[Contender, Unit]]
) -> None:
    """Each found pool with the weights of its best seed on validation."""
    for label, unit in best_seeds(pool, found).items():
        structure = SharedStructure.from_dict(pool.as_found(unit).options["structure"])
        measures = pool.train([unit])[unit.key]["validation"]
        save_shared(folder / "adapters" / label, context, unit, structure, pool.state(unit), measures)


def _save_together(
    context: PoolContext, folder: RunFolder, pool: UnitPool, baselines: Sequence[tuple[Contender, Unit]]
) -> None:
    """What hand-made methods trained for all tasks together, as an adapter of each task; but for full fine-tuning."""
    adapters = [(contender, unit) for contender, unit in baselines if unit.method != "full"]
    for label, unit in best_seeds(pool, adapters).items():
        measures = pool.train([unit])[unit.key]["validation"]["tasks"]
        state = pool.state(unit)
        for number, (task, part) in enumerate(zip(names(context), context.parts, strict=True)):
            its = replace(unit, label=f"{label}-{task}")
            save_bundle(folder / "adapters" / label / task, part, its, _of_task(state, number), measures[task])


def _of_task(state: State, number: int) -> State:
    """Trained weights with the head of one task."""
    adapter = {name: value for name, value in state.items() if name.startswith("adapter.")}
    return adapter | {f"head.{name}": value for name, value in those_of(f"heads.{number}.", state).items()}


def _save_alone(
    context: PoolContext, folder: RunFolder, pools: Mapping[str, UnitPool], finals: Sequence[Mapping[str, Any]]
) -> None:
    """What was trained for each task alone, with the weights of its best seed on validation."""
    parts = dict(zip(names(context), context.parts, strict=True))
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for final in finals:
        trained = pools[final["task"]].result(final["key"])
        known = best.get((final["label"], final["task"]))
        if known is None or trained["validation"]["quality"] > known["validation"]["quality"]:
            best[final["label"], final["task"]] = trained
    for (label, task), trained in best.items():
        unit, pool = Unit(**trained["unit"]), pools[task]
        if unit.method != "full":
            where = folder / "adapters" / label / task
            save_bundle(where, parts[task], pool.as_found(unit), pool.state(unit), trained["validation"])
