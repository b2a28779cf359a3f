"""Each task trained by itself, to be compared with tasks that share a pool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..config import Config
from ..structure import SharedStructure, Structure
from ..training.units import Unit
from .finals import Contender, baseline_contenders, every_seed, found_grid, search_again, short, tune
from .fixed import UnitPool
from .ledger import Trial

Final = dict[str, Any]


def methods_alone(config: Config) -> tuple[str, ...]:
    """What is trained for each task alone: as configured, or the search, and LoRA where it is a baseline."""
    if config.multitask.alone is not None:
        return config.multitask.alone
    return ("slat", *dict.fromkeys(b.method for b in config.baselines if b.method == "lora"))


def train_alone(
    pools: Mapping[str, UnitPool], config: Config, members: Sequence[Trial], say: Callable[[str], None]
) -> tuple[list[Final], dict[str, Any]]:
    """Tune and train for each task alone, with its share of the steps; test every seed.

    A found pool is set beside a search for each task with an equal part of its parameters, so that the sums are equal.
    What both find is then trained again in the same way, or searched again by each seed, as configured.

    Returns:
        A row a task, method and seed: what ``selection.json`` says of it; and what was tried and chosen.
    """
    wanted = methods_alone(config)
    finals: list[Final] = []
    tuning: dict[str, Any] = {}
    for task, pool in pools.items():
        contenders = [contender for contender in baseline_contenders(config) if contender.grid[0].method in wanted]
        if "slat" in wanted:
            contenders += _found_alone(pool, config, members, len(pools))
        say(f"{task} alone: tune and train {len(contenders)} methods")
        tuned, record = tune(pool, contenders, say)
        tuning |= {tuned_as(title, task): told for title, told in record.items()}
        chosen = every_seed(pool, tuned, config.seeds)
        pool.evaluate([unit for _, unit in chosen])
        for contender, unit in chosen:
            name = f"{contender.title}, each task alone"
            row = {"key": unit.key, "task": task, "label": f"alone-{unit.label}", "name": name}
            structure = pool.as_found(unit).options["structure"] if contender.digest else None
            finals.append({**row, "tuned_as": tuned_as(contender.title, task), "structure": structure})
    return finals, tuning


def tuned_as(title: str, task: str) -> str:
    """Name in the record of what was tried of a method that was trained for one task."""
    return f"{title}, {task} alone"


def _found_alone(pool: UnitPool, config: Config, members: Sequence[Trial], tasks: int) -> Iterator[Contender]:
    """For each found pool, what a search of one task alone finds with an equal part of its parameters."""
    searches: list[tuple[str, str, Trial, Unit]] = []
    for trial in members:
        shared = trial.structure
        assert isinstance(shared, SharedStructure)
        if shared.params >= tasks:
            digest, title = shared.digest[:6], f"SLAT of {short(shared.params)} in all"
            searches.append((digest, title, trial, search_again(f"search-{digest}", trial, shared.params / tasks)))
    results = pool.train([unit for *_, unit in searches])
    for digest, title, trial, unit in searches:
        if "error" in results[unit.key]:
            continue
        if "fresh" in config.search.weights:
            structure = Structure.from_dict(results[unit.key]["structure"])
            yield Contender(title, found_grid(f"slat-{digest}", structure, trial, config), digest)
        if "own" in config.search.weights:
            yield Contender(f"{title}, own weights", (unit,), digest)


def train_transfers(
    pools: Mapping[str, UnitPool], config: Config, member: Trial, say: Callable[[str], None]
) -> list[Final]:
    """What each task uses of a pool, trained from fresh weights on each task; and a random part of the pool, as large
    as what the task itself uses. Learning rates are tuned for each on validation with one seed; every seed is tested.

    Tasks that use the same of the pool share a training.

    Returns:
        A row a structure, task and seed.
    """
    shared = member.structure
    assert isinstance(shared, SharedStructure)
    rows: list[Final] = []
    say("transfer: what each task uses, trained on each task alone")
    for task, pool in pools.items():
        own = shared.of(task)
        random = shared.pool.random_part(own.params, seed=config.seed)
        contenders = [
            Contender(name, found_grid(f"transfer-{structure.digest[:6]}", structure, member, config))
            for name, structure in [*((other, shared.of(other)) for other in shared.tasks), ("random", random)]
            if structure.modules
        ]
        tuned, _ = tune(pool, contenders, say)
        chosen = every_seed(pool, tuned, config.seeds)
        trained = pool.train([unit for _, unit in chosen])
        tested = pool.evaluate([unit for _, unit in chosen])
        rows += [
            {
                "of": contender.title,
                "on": task,
                "seed": unit.seed,
                "params": trained[unit.key]["params"],
                "quality": tested[unit.key]["quality"],
            }
            for contender, unit in chosen
        ]
    return rows
