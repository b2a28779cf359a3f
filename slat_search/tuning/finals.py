"""The trainings that are compared: found structures and baselines, under one protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from ..config import Baseline, Config
from ..errors import SlatError
from ..records import Final, Selection, Trained, Tuning, Unit
from ..run_folder import RunFolder, write_text
from ..structure import SharedStructure, Structure, read_structure
from .fixed import UnitPool
from .ledger import Trial


@dataclass(frozen=True)
class Contender:
    """A row of the comparison: one method, to be tuned on seed 0 and then trained with every seed.

    Attributes:
        title: name in tables.
        grid: its training with seed 0 at every learning rate that is tried.
        digest: of its structure, for a found one; what is searched again has that of the trial.
        group: its name where runs are compared, as sizes differ from task to task.
        budget: size that it was made for, if it was made in the size of a found structure.
    """

    title: str
    grid: tuple[Unit, ...]
    digest: str = ""
    group: str = "SLAT"
    budget: int | None = None

    def best(self, trained: Mapping[str, Trained]) -> Unit | None:
        """Return the unit with the best validation quality, of equals that with the least loss; None when all
        diverged."""

        def rank(unit: Unit) -> tuple[float, float]:
            validation = trained[unit.key].validation
            return validation.quality, -validation.loss

        return max((unit for unit in self.grid if unit.key in trained), key=rank, default=None)

    def tuning(self, trained: Mapping[str, Trained]) -> Tuning:
        """Return what was tried and chosen."""
        best = self.best(trained)
        return Tuning(
            tried={
                f"{unit.learning_rate:g}": trained[unit.key].validation.quality if unit.key in trained else None
                for unit in self.grid
            },
            chosen="none: left out" if best is None else f"{best.learning_rate:g}",
        )


def tune(
    pool: UnitPool, contenders: Sequence[Contender], say: Callable[[str], None]
) -> tuple[list[tuple[Contender, Unit]], dict[str, Tuning]]:
    """Choose each contender's learning rate on validation with seed 0.

    Returns:
        Each with its chosen unit, without those that diverged at every rate; and by title what was tried and chosen.
    """
    trained = pool.train_well([unit for contender in contenders for unit in contender.grid])
    tuned = []
    for contender in contenders:
        best = contender.best(trained)
        if best is None:
            say(f"left out: {contender.title}, whose training diverged at every learning rate")
        else:
            tuned.append((contender, best))
    return tuned, {contender.title: contender.tuning(trained) for contender in contenders}


def every_seed(pool: UnitPool, tuned: Sequence[tuple[Contender, Unit]], seeds: int) -> list[tuple[Contender, Unit]]:
    """Train each contender's chosen unit with every seed; without those that diverged."""
    units = [(contender, replace(best, seed=seed)) for contender, best in tuned for seed in range(seeds)]
    trained = pool.train_well([unit for _, unit in units])
    return [(contender, unit) for contender, unit in units if unit.key in trained]


def train_finals(
    pool: UnitPool, members: Sequence[Trial], folder: RunFolder, say: Callable[[str], None]
) -> tuple[list[tuple[Contender, Unit]], Selection]:
    """Train found structures and baselines alike: tune the learning rate on seed 0, then train every seed.

    What diverged is left out of the comparison, and named in ``selection.json`` and the report. Writes
    ``structures/*.json`` and ``selection.json``.

    Raises:
        SlatError: nothing is left.
    """
    config = pool.context.config
    contenders = [
        *(contender for trial in members for contender in _found(trial, config, folder)),
        *baseline_contenders(config, members),
    ]
    found = sum(bool(contender.digest) for contender in contenders)
    say(f"tune the learning rates of {found} found structures and {len(contenders) - found} baselines")
    tuned, tuning = tune(pool, contenders, say)
    say(f"train each with {config.seeds} seeds")
    finals = every_seed(pool, tuned, config.seeds)
    if not finals:
        raise SlatError("search: training diverged for every structure that was found, and for every baseline")
    if not found_ones(finals):
        say("training diverged for every structure that was found; the baselines alone are left")
    named = tuple(
        Final(
            key=unit.key,
            label=unit.label,
            name=contender.title,
            structure=as_trained(pool, unit).digest if contender.digest else "",
            group=contender.group,
            budget=contender.budget,
        )
        for contender, unit in finals
    )
    for label, unit in best_seeds(pool, found_ones(finals)).items():
        write_text(folder / "structures" / f"{label}.json", as_trained(pool, unit).to_json())
    selection = Selection(finals=named, tuning=tuning)
    selection.write(folder / "selection.json")
    return finals, selection


def train_baselines(pool: UnitPool, say: Callable[[str], None]) -> pd.DataFrame:
    """Train hand-made methods alone, as :func:`train_finals` does and will find them; those in the size of found
    structures have to wait.

    Returns:
        A row a method: ``method``, ``learning rate``, ``parameters`` and ``validation``, both means over seeds.

    Raises:
        SlatError: no method that need not wait.
    """
    config = pool.context.config
    contenders = [*baseline_contenders(config)]
    if not contenders:
        raise SlatError("baselines: none is there that need not wait for the size of found structures")
    say(f"tune the learning rates of {len(contenders)} baselines")
    tuned, _ = tune(pool, contenders, say)
    say(f"train each with {config.seeds} seeds")
    results = pool.train_well([unit for _, unit in every_seed(pool, tuned, config.seeds)])
    rows = []
    for contender, best in tuned:
        its = [result for result in results.values() if result.unit.label == best.label]
        quality = [result.validation.quality for result in its]
        spread = f" ± {stdev(quality):.3f}" if len(quality) > 1 else ""
        rows.append(
            {
                "method": contender.title,
                "learning rate": f"{best.learning_rate:g}",
                "parameters": f"{fmean(result.params for result in its):,.0f}",
                "validation": f"{fmean(quality):.3f}{spread}",
            }
        )
    return pd.DataFrame(rows, columns=["method", "learning rate", "parameters", "validation"])


def write_found(folder: RunFolder, members: Sequence[Trial]) -> None:
    """``structures/*.json`` of what a search has chosen, before any of it is trained again."""
    for trial in members:
        if trial.structure is not None:
            write_text(folder / "structures" / f"{_label(trial.structure)}.json", trial.structure.to_json())


def _label(structure: Structure | SharedStructure) -> str:
    return f"slat-{structure.digest[:6]}"


def as_trained(pool: UnitPool, unit: Unit) -> Structure | SharedStructure:
    """Return the structure of a training of what a search found."""
    return read_structure(pool.as_found(unit).options["structure"])


def found_ones(finals: Sequence[tuple[Contender, Unit]]) -> list[tuple[Contender, Unit]]:
    """Trainings of structures that a search found."""
    return [(contender, unit) for contender, unit in finals if contender.digest]


def best_seeds(pool: UnitPool, finals: Sequence[tuple[Contender, Unit]]) -> dict[str, Unit]:
    """Label of each row -> the training of it that is best on validation."""
    results = pool.train_well([unit for _, unit in finals])
    by_label: dict[str, list[Unit]] = {}
    for _, unit in finals:
        by_label.setdefault(unit.label, []).append(unit)

    def quality(unit: Unit) -> float:
        return results[unit.key].validation.quality

    return {label: max(units, key=quality) for label, units in by_label.items()}


def _found(trial: Trial, config: Config, folder: RunFolder) -> Iterator[Contender]:
    """A trial's structure, to be trained again from fresh weights under the trial's own noise, and its search, to be
    done again for each seed at the size that it found; as configured. A bare head has nothing to search for."""
    structure = trial.structure
    assert structure is not None
    label, title = _label(structure), f"SLAT {short(structure.params)} (trial {trial.number})"
    if "fresh" in config.search.weights or not structure.params:
        yield Contender(title, found_grid(label, structure, trial, config), structure.digest)
    if "own" in config.search.weights and structure.params:
        searched = search_again(f"{label}-own", trial, structure.params)
        yield Contender(f"{title}, own weights", (searched,), structure.digest, group="SLAT, own weights")


def search_again(label: str, trial: Trial, budget: float) -> Unit:
    """A trial's search, held at ``budget`` parameters, whose own weights are the result."""
    given = ("kinds", "gate_learning_rate", "sharing")
    options = {"budget": budget, **{name: trial.sampled[name] for name in given if name in trial.sampled}}
    rate, noise, ratio = (trial.sampled[name] for name in ("learning_rate", "noise_kind", "noise_ratio"))
    return Unit("search", label, rate, 0, noise, ratio, options)


def short(params: int) -> str:
    """A size as it stands in names."""
    return f"{params / 1000:.1f}k" if params >= 1000 else str(params)


def found_grid(label: str, structure: Structure | SharedStructure, trial: Trial, config: Config) -> tuple[Unit, ...]:
    """A structure from fresh weights at every learning rate that is tried, under the noise of the trial."""
    return tuple(
        Unit(
            "slat",
            label,
            rate,
            seed=0,
            noise_kind=trial.sampled["noise_kind"],
            noise_ratio=trial.sampled["noise_ratio"],
            options={"structure": structure.to_dict()},
        )
        for rate in config.search.refit_learning_rates
    )


def baseline_contenders(config: Config, members: Sequence[Trial] = ()) -> Iterator[Contender]:
    """Hand-made methods at each of their learning rates; those of the found size once for each size of ``members``."""
    for baseline in config.baselines:
        if baseline.same_size:
            sizes = sorted({t.structure.params for t in members if t.structure is not None and t.structure.modules})
            for size in sizes:
                made = _baseline_contender(baseline.sized(size), config)
                yield replace(made, group=f"{baseline.title}, same size", budget=size)
        else:
            yield _baseline_contender(baseline, config)


def _baseline_contender(baseline: Baseline, config: Config) -> Contender:
    options = method_options(baseline, config)
    grid = tuple(
        Unit(baseline.method, baseline.label, rate, seed=0, options=options) for rate in baseline.learning_rates
    )
    return Contender(baseline.title, grid, group=baseline.title)


def method_options(baseline: Baseline, config: Config) -> dict[str, Any]:
    """What a baseline's method takes; random structures are drawn from what the search chooses from, and random entries
    from its places."""
    space = config.space
    if baseline.method == "entries":
        return {**baseline.options, "sites": {"include": list(space.include), "exclude": list(space.exclude)}}
    if baseline.method != "random":
        return baseline.options
    return {
        **baseline.options,
        "kinds": {str(kind): candidate.size for kind, candidate in space.kinds.items() if candidate.size},
        "modules": {"activation": space.activation, "scale": space.scale},
        "sites": {"include": list(space.include), "exclude": list(space.exclude)},
    }
