"""The grids of the sensitivity studies: one thing changes, the rest is held, every setting with every seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..config import Config
from ..config.sensitivity import SEARCHED
from ..errors import SlatError
from ..records import ReferencePoint, StudyPoint, StudyPoints, Unit
from ..run_folder import RunFolder
from .finals import Contender, baseline_contenders, tune
from .fixed import UnitPool


@dataclass(frozen=True)
class Point:
    """One method at one setting of a study, with one seed.

    Attributes:
        study: ``sparsity``, ``sharing`` or ``noise``.
        method: name in tables.
        kind: of noise; ``weight`` in the studies of the weights of sparsity and of sharing.
        value: noise ratio or weight; None where a method has no weight.
        unit: what is trained; points of several studies may share it.
    """

    study: str
    method: str
    kind: str
    value: float | None
    unit: Unit


def run_studies(pool: UnitPool, clean_pool: UnitPool, folder: RunFolder, say: Callable[[str], None]) -> None:
    """Train and test every point; writes ``points.json``, which says what the kept results belong to.

    Args:
        pool: tests clean and perturbed text.
        clean_pool: the same, but tests clean text alone; for points that the perturbation study does not use.

    Raises:
        SlatError: the search diverged at every learning rate.
    """
    config = pool.context.config
    contenders = [search_contender(config), *baseline_contenders(config)]
    say(f"sensitivity: tune the learning rates of the search and {len(contenders) - 1} baselines")
    tuned, tuning = tune(pool, contenders, say)
    if not tuned or tuned[0][0].title != SEARCHED:
        raise SlatError("sensitivity.learning_rates: the search diverged at every one of them")
    points = [*sparsity_points(config, tuned), *sharing_points(config, tuned), *noise_points(config, tuned)]
    units = {point.unit.key: point.unit for point in points}
    say(f"sensitivity: {len(points)} points with {len(units)} trainings")
    trained = pool.train_well(list(units.values()))
    reference = [replace(unit, seed=seed) for _, unit in tuned for seed in range(config.seeds)]
    say("sensitivity: test")
    pool.evaluate([unit for unit in reference if unit.key in trained])
    clean_pool.evaluate([unit for key, unit in units.items() if key in trained])
    StudyPoints(
        points=tuple(
            StudyPoint(study=p.study, method=p.method, kind=p.kind, value=p.value, key=p.unit.key) for p in points
        ),
        reference=tuple(
            ReferencePoint(method=contender.title, key=replace(unit, seed=seed).key)
            for contender, unit in tuned
            for seed in range(config.seeds)
        ),
        tuning=tuning,
    ).write(folder / "points.json")


def search_contender(config: Config) -> Contender:
    """A search at the reference weights whose own weights are the result, at each of its learning rates."""
    held = config.sensitivity
    grid = tuple(_search_unit(config, held.weight, held.sharing, rate, seed=0) for rate in held.learning_rates)
    return Contender(SEARCHED, grid)


def _search_unit(config: Config, weight: float, sharing: float, learning_rate: float, seed: int) -> Unit:
    options = {"sparsity": weight, "gate_learning_rate": config.sensitivity.gate_learning_rate}
    label = f"slat-w{weight:g}"
    if config.tasks:
        options["sharing"] = sharing
        label += f"-k{sharing:g}"
    return Unit("search", label, learning_rate, seed, options=options)


def sparsity_points(config: Config, tuned: Sequence[tuple[Contender, Unit]]) -> Iterator[Point]:
    """The search at every weight; methods without one stand beside it as they are."""
    weights = sorted({config.sensitivity.weight, *config.sensitivity.weights})
    for contender, unit in tuned:
        for seed in range(config.seeds):
            if unit.method == "search":
                for weight in weights:
                    searched = _search_unit(config, weight, config.sensitivity.sharing, unit.learning_rate, seed)
                    yield Point("sparsity", contender.title, "weight", weight, searched)
            else:
                yield Point("sparsity", contender.title, "weight", None, replace(unit, seed=seed))


def sharing_points(config: Config, tuned: Sequence[tuple[Contender, Unit]]) -> Iterator[Point]:
    """The search over several tasks at every weight of sharing."""
    held = config.sensitivity
    if not config.tasks or not held.sharings:
        return
    for contender, unit in tuned:
        if unit.method == "search":
            for sharing in sorted({held.sharing, *held.sharings}):
                for seed in range(config.seeds):
                    searched = _search_unit(config, held.weight, sharing, unit.learning_rate, seed)
                    yield Point("sharing", contender.title, "weight", sharing, searched)


def noise_points(config: Config, tuned: Sequence[tuple[Contender, Unit]]) -> Iterator[Point]:
    """Every method under every kind and ratio of noise in training; ratio 0 is the reference itself."""
    for contender, unit in tuned:
        for kind in config.sensitivity.noise_kinds:
            for ratio in sorted({0.0, *config.sensitivity.noise_ratios}):
                label = f"{unit.label}-{kind}{ratio:g}" if ratio else unit.label
                noise = ("none", 0.0) if not ratio else (kind, ratio)
                for seed in range(config.seeds):
                    noisy = replace(unit, label=label, noise_kind=noise[0], noise_ratio=noise[1], seed=seed)
                    yield Point("noise", contender.title, kind, ratio, noisy)
