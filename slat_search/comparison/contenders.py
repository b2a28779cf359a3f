"""The trainings that are compared: found structures and baselines, under one protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from ..config import Baseline, Config
from ..errors import SlatError
from ..files import keep_digests, write_listed
from ..records import (
    Final,
    Selection,
    Trained,
    TrainingJob,
    Tuning,
)
from ..run_folder import RunFolder
from ..search.trial_log import Trial
from ..structure import SharedStructure, Structure, read_structure
from .job_runner import JobRunner

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contender:
    """One method of the comparison, tuned on seed 0 and then trained with every seed.

    Attributes:
        title: name in tables.
        grid: its training with seed 0 at every learning rate that is tried.
        digest: of its structure, for a found one; what is searched again has that of the trial.
        group: its name where runs are compared, as sizes differ from task to task.
        budget: size that it was made for, if it was made in the size of a found structure.
    """

    title: str
    grid: tuple[TrainingJob, ...]
    digest: str = ""
    group: str = "SLAT"
    budget: int | None = None

    def best(self, trained: Mapping[str, Trained]) -> TrainingJob | None:
        """Return the job with the best validation quality, of equals that with the least loss; None when all
        diverged."""

        def rank(job: TrainingJob) -> tuple[float, float]:
            validation = trained[job.key].validation
            return validation.quality, -validation.loss

        return max((job for job in self.grid if job.key in trained), key=rank, default=None)

    def tuning(self, trained: Mapping[str, Trained]) -> Tuning:
        """Return rates tried and chosen."""
        best = self.best(trained)
        return Tuning(
            tried={
                f"{job.learning_rate:g}": trained[job.key].validation.quality if job.key in trained else None
                for job in self.grid
            },
            chosen="none: left out" if best is None else f"{best.learning_rate:g}",
        )


def tune(
    runner: JobRunner, contenders: Sequence[Contender]
) -> tuple[list[tuple[Contender, TrainingJob]], dict[str, Tuning]]:
    """Choose each contender's learning rate on validation with seed 0.

    Returns:
        Each with its chosen job, without those that diverged at every rate; and by title what was tried and chosen.
    """
    trained = runner.train_successful([job for contender in contenders for job in contender.grid])
    tuned = []
    for contender in contenders:
        best = contender.best(trained)
        if best is None:
            _log.warning(f"left out: {contender.title}, whose training diverged at every learning rate")
        else:
            tuned.append((contender, best))
    return tuned, {contender.title: contender.tuning(trained) for contender in contenders}


def tune_and_train(
    runner: JobRunner, contenders: Sequence[Contender]
) -> tuple[list[tuple[Contender, TrainingJob]], dict[str, Tuning]]:
    """Tune each contender as :func:`tune` does, and train it with every seed; returns the trainings and the tuning."""
    tuned, tuning = tune(runner, contenders)
    return every_seed(runner, tuned, runner.context.config.seeds), tuning


def every_seed(
    runner: JobRunner, tuned: Sequence[tuple[Contender, TrainingJob]], seeds: int
) -> list[tuple[Contender, TrainingJob]]:
    """Train each contender's chosen job with every seed; without those that diverged."""
    _log.info(f"train each with {seeds} seed{'' if seeds == 1 else 's'}")
    jobs = [(contender, replace(best, seed=seed)) for contender, best in tuned for seed in range(seeds)]
    trained = runner.train_successful([job for _, job in jobs])
    return [(contender, job) for contender, job in jobs if job.key in trained]


def train_finals(
    runner: JobRunner, members: Sequence[Trial], folder: RunFolder
) -> tuple[list[tuple[Contender, TrainingJob]], Selection]:
    """Train found structures and baselines alike: tune the learning rate on seed 0, then train every seed.

    What diverged is left out of the comparison, and named in ``selection.json`` and the report. Writes
    ``structures/*.json`` and ``selection.json``.

    Raises:
        SlatError: nothing is left.
    """
    config = runner.context.config
    contenders = [
        *(contender for trial in members for contender in _found(trial, config, folder)),
        *baseline_contenders(config, members),
    ]
    num_found = sum(bool(contender.digest) for contender in contenders)
    _log.info(f"tune the learning rates of {num_found} found structures and {len(contenders) - num_found} baselines")
    finals, tuning = tune_and_train(runner, contenders)
    if not finals:
        raise SlatError("search: training diverged for every structure that was found, and for every baseline")
    if not found_ones(finals):
        _log.warning("training diverged for every structure that was found; the baselines alone are left")
    keep_digests(folder / "structures")
    for label, job in best_seeds(runner, found_ones(finals)).items():
        write_listed(folder / "structures" / f"{label}.json", found_structure(runner, job).to_json())
    selection = Selection(finals=tuple(final(runner, *each) for each in finals), tuning=tuning)
    selection.write(folder / "selection.json")
    return finals, selection


def final(runner: JobRunner, contender: Contender, job: TrainingJob, **fields: str) -> Final:
    """Return the record of a training that is compared, with some ``fields`` other than those of its contender."""
    of_contender = {
        "label": job.label,
        "name": contender.title,
        "structure": found_structure(runner, job).digest if contender.digest else "",
        "group": contender.group,
        "budget": contender.budget,
    }
    return Final.model_validate({"key": job.key, **of_contender, **fields})


def train_baselines(runner: JobRunner) -> pd.DataFrame:
    """Train hand-made methods alone, as :func:`train_finals` does and will find them; those in the size of found
    structures have to wait.

    Returns:
        A row a method: ``method``, ``learning rate``, ``parameters`` and ``validation``, both means over seeds.

    Raises:
        SlatError: every method has to wait.
    """
    config = runner.context.config
    contenders = [*baseline_contenders(config)]
    if not contenders:
        raise SlatError("baselines: none is there that need not wait for the size of found structures")
    _log.info(f"tune the learning rates of {len(contenders)} baselines")
    tuned, _ = tune(runner, contenders)
    results = runner.train_successful([job for _, job in every_seed(runner, tuned, config.seeds)])
    rows = []
    for contender, best in tuned:
        its = [result for result in results.values() if result.job.label == best.label]
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
    keep_digests(folder / "structures")
    for trial in members:
        if trial.structure is not None:
            write_listed(folder / "structures" / f"{_label(trial.structure)}.json", trial.structure.to_json())


def _label(structure: Structure | SharedStructure) -> str:
    return f"slat-{structure.digest[:6]}"


def found_structure(runner: JobRunner, job: TrainingJob) -> Structure | SharedStructure:
    """Return the found structure of a training."""
    return read_structure(runner.structure_job(job).options["structure"])


def found_ones(finals: Sequence[tuple[Contender, TrainingJob]]) -> list[tuple[Contender, TrainingJob]]:
    """Trainings of structures that a search found."""
    return [(contender, job) for contender, job in finals if contender.digest]


def best_seeds(runner: JobRunner, finals: Sequence[tuple[Contender, TrainingJob]]) -> dict[str, TrainingJob]:
    """Label of each row -> the training of it that is best on validation."""
    results = runner.train_successful([job for _, job in finals])
    by_label: dict[str, list[TrainingJob]] = {}
    for _, job in finals:
        by_label.setdefault(job.label, []).append(job)

    def quality(job: TrainingJob) -> float:
        return results[job.key].validation.quality

    return {label: max(jobs, key=quality) for label, jobs in by_label.items()}


def _found(trial: Trial, config: Config, folder: RunFolder) -> Iterator[Contender]:
    """A trial's structure, to be trained again from fresh weights under the trial's own noise, and its search, to be
    done again for each seed at the size that it found; as configured. A bare head has nothing to search for."""
    structure = trial.structure
    assert structure is not None
    label, title = _label(structure), f"SLAT {short(structure.params)} (trial {trial.number})"
    if "retrained" in config.search.final_weights or not structure.params:
        yield Contender(title, found_grid(label, structure, trial, config), structure.digest)
    if "inherited" in config.search.final_weights and structure.params:
        searched = search_again(f"{label}-own", trial, structure.params)
        yield Contender(f"{title}, own weights", (searched,), structure.digest, group="SLAT, own weights")


def search_again(label: str, trial: Trial, budget: float) -> TrainingJob:
    """Repeat a trial's search at ``budget`` parameters, keeping its weights."""
    names = ("kinds", "gate_learning_rate", "sharing")
    options = {"budget": budget, **{name: trial.sampled[name] for name in names if name in trial.sampled}}
    rate, noise, ratio = (trial.sampled[name] for name in ("learning_rate", "noise_kind", "noise_ratio"))
    return TrainingJob("search", label, rate, 0, noise, ratio, options)


def short(params: int) -> str:
    """Format a size for names."""
    return f"{params / 1000:.1f}k" if params >= 1000 else str(params)


def found_grid(
    label: str, structure: Structure | SharedStructure, trial: Trial, config: Config
) -> tuple[TrainingJob, ...]:
    """A structure from fresh weights at every learning rate that is tried, under the noise of the trial."""
    return tuple(
        TrainingJob(
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
    """Yield baselines with their learning rates; budget-matched ones once per size of ``members``."""
    for baseline in config.baselines:
        if baseline.same_size:
            sizes = sorted({t.structure.params for t in members if t.structure is not None and t.structure.modules})
            for size in sizes:
                contender = _baseline_contender(baseline.sized(size), config)
                yield replace(contender, group=f"{baseline.title}, same size", budget=size)
        else:
            yield _baseline_contender(baseline, config)


def _baseline_contender(baseline: Baseline, config: Config) -> Contender:
    options, title, rates = method_options(baseline, config), baseline.title, baseline.learning_rates
    if baseline.method == "head" and config.task.is_prompted:  # no head, and so nothing that a rate could change
        title, rates = baseline.name or "zero-shot", rates[:1]
    grid = tuple(TrainingJob(baseline.method, baseline.label, rate, seed=0, options=options) for rate in rates)
    return Contender(title, grid, group=title)


def method_options(baseline: Baseline, config: Config) -> dict[str, Any]:
    """Return the options of a baseline's method; random structures are drawn from what the search chooses from, and
    random entries from its places."""
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
