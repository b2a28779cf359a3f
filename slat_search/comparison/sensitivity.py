"""The grids of the sensitivity studies: one thing changes, the rest is held, every setting with every seed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..config import Config
from ..config.sensitivity import SEARCHED
from ..errors import SlatError
from ..records import (
    ReferencePoint,
    StudyPoint,
    StudyPoints,
    TrainingJob,
)
from ..run_folder import RunFolder
from .contenders import Contender, baseline_contenders, tune
from .job_runner import JobRunner

_log = logging.getLogger(__name__)
#: a point, and what is trained for it; points of several studies may share a training
Point = tuple[StudyPoint, TrainingJob]


def run_studies(runner: JobRunner, clean_runner: JobRunner, folder: RunFolder) -> None:
    """Train and test every point; writes ``points.json``, which says what the kept results belong to.

    Args:
        runner: tests clean and perturbed text.
        clean_runner: the same, but tests clean text alone; for points that the perturbation study does not use.

    Raises:
        SlatError: the search diverged at every learning rate.
    """
    config = runner.context.config
    contenders = [search_contender(config), *baseline_contenders(config)]
    _log.info(f"sensitivity: tune the learning rates of the search and {len(contenders) - 1} baselines")
    tuned, tuning = tune(runner, contenders)
    if not tuned or tuned[0][0].title != SEARCHED:
        raise SlatError("sensitivity.learning_rates: the search diverged at every one of them")
    points = [*sparsity_points(config, tuned), *sharing_points(config, tuned), *noise_points(config, tuned)]
    jobs = {job.key: job for _, job in points}
    _log.info(f"sensitivity: {len(points)} points with {len(jobs)} trainings")
    trained = runner.train_successful(list(jobs.values()))
    reference = [replace(job, seed=seed) for _, job in tuned for seed in range(config.seeds)]
    _log.info("sensitivity: test")
    runner.evaluate([job for job in reference if job.key in trained])
    clean_runner.evaluate([job for key, job in jobs.items() if key in trained])
    StudyPoints(
        points=tuple(point for point, _ in points),
        reference=tuple(
            ReferencePoint(method=contender.title, key=replace(job, seed=seed).key)
            for contender, job in tuned
            for seed in range(config.seeds)
        ),
        tuning=tuning,
    ).write(folder / "points.json")


def search_contender(config: Config) -> Contender:
    """A search at the reference weights whose own weights are the result, at each of its learning rates."""
    study = config.sensitivity
    grid = tuple(_search_job(config, study.weight, study.sharing, rate, seed=0) for rate in study.learning_rates)
    return Contender(SEARCHED, grid)


def _search_job(config: Config, weight: float, sharing: float, learning_rate: float, seed: int) -> TrainingJob:
    options = {"sparsity": weight, "gate_learning_rate": config.sensitivity.gate_learning_rate}
    label = f"slat-w{weight:g}"
    if config.tasks:
        options["sharing"] = sharing
        label += f"-k{sharing:g}"
    return TrainingJob("search", label, learning_rate, seed, options=options)


def sparsity_points(config: Config, tuned: Sequence[tuple[Contender, TrainingJob]]) -> Iterator[Point]:
    """Yield the search at every weight; other methods are included unchanged."""
    weights = sorted({config.sensitivity.weight, *config.sensitivity.weights})
    for contender, job in tuned:
        for seed in range(config.seeds):
            if job.method == "search":
                for weight in weights:
                    searched = _search_job(config, weight, config.sensitivity.sharing, job.learning_rate, seed)
                    yield _point("sparsity", contender.title, "weight", weight, searched)
            else:
                yield _point("sparsity", contender.title, "weight", None, replace(job, seed=seed))


def sharing_points(config: Config, tuned: Sequence[tuple[Contender, TrainingJob]]) -> Iterator[Point]:
    """The search over several tasks at every weight of sharing."""
    study = config.sensitivity
    if not config.tasks or not study.sharings:
        return
    for contender, job in tuned:
        if job.method == "search":
            for sharing in sorted({study.sharing, *study.sharings}):
                for seed in range(config.seeds):
                    searched = _search_job(config, study.weight, sharing, job.learning_rate, seed)
                    yield _point("sharing", contender.title, "weight", sharing, searched)


def noise_points(config: Config, tuned: Sequence[tuple[Contender, TrainingJob]]) -> Iterator[Point]:
    """Every method under every kind and ratio of noise in training; ratio 0 is the reference itself."""
    for contender, job in tuned:
        for kind in config.sensitivity.noise_kinds:
            for ratio in sorted({0.0, *config.sensitivity.noise_ratios}):
                label = f"{job.label}-{kind}{ratio:g}" if ratio else job.label
                noise = ("none", 0.0) if not ratio else (kind, ratio)
                for seed in range(config.seeds):
                    noisy = replace(job, label=label, noise_kind=noise[0], noise_ratio=noise[1], seed=seed)
                    yield _point("noise", contender.title, kind, ratio, noisy)


def _point(study: str, method: str, kind: str, value: float | None, job: TrainingJob) -> Point:
    return StudyPoint(study=study, method=method, kind=kind, value=value, key=job.key), job
