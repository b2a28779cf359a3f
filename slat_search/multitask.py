"""What a run over several tasks does beside a run of one: each task alone, transfers, and an adapter a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from .analysis.pool import analyse_pool
from .config import Config
from .run_folder import RunFolder, write_json, write_text
from .structure import SharedStructure
from .training.pool import PoolContext, clean, names
from .training.shared_bundle import save_shared
from .training.units import Unit
from .tuning.alone import train_alone, train_transfers
from .tuning.finals import Contender, best_seeds, found_ones
from .tuning.fixed import UnitPool
from .tuning.ledger import Trial


def train_apart(
    config: Config, context: PoolContext, folder: RunFolder, members: Sequence[Trial], say: Callable[[str], None]
) -> None:
    """Train and test each task alone, and what tasks use on others; writes ``alone.json`` and ``transfer.csv``."""
    parts = dict(zip(names(context), context.parts, strict=True))
    pools = {name: UnitPool(part.config, part, folder / "units" / "alone" / name, say) for name, part in parts.items()}
    finals, tuning = train_alone(pools, config, members, say)
    write_json(folder / "alone.json", {"finals": finals, "tuning": tuning})
    if config.multitask.transfer:
        where = folder / "units" / "transfer"
        bare = {name: UnitPool(part.config, clean(part), where / name, say) for name, part in parts.items()}
        best = max(members, key=lambda trial: trial.measures["quality"])
        rows = train_transfers(bare, config, best, say)
        write_text(folder / "transfer.csv", pd.DataFrame(rows).to_csv(index=False))


def finish(context: PoolContext, folder: RunFolder, pool: UnitPool, finals: Sequence[tuple[Contender, Unit]]) -> None:
    """Tables, figures and report; of each found pool the weights of the best seed on validation."""
    best = analyse_pool(folder)
    for label, unit in best_seeds(pool, found_ones(finals)).items():
        structure = SharedStructure.from_dict(pool.as_found(unit).options["structure"])
        measures = pool.train([unit])[unit.key]["validation"]
        save_shared(folder / "adapters" / label, context, unit, structure, pool.state(unit), measures)
    write_json(folder / "adapters" / "best.json", {"adapter": best})
