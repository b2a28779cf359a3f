"""Planned numbers of trainings and steps of a run."""

from __future__ import annotations

from collections.abc import Iterator

from ..config import Config
from ..search.space import SearchSpace
from ..search.tune import expected_steps
from ..training.context import Context
from ..training.jobs import test_steps
from .contenders import baseline_contenders
from .single_task import methods_alone


def rates_of_found(config: Config, selected: int | None = None) -> Iterator[int]:
    """Yield the learning rates of each found structure, and of each baseline that is made in its size.

    Args:
        selected: structures that were selected; by default as many as there may be.
    """
    search = config.search
    for _ in range(search.num_selected if selected is None else selected):
        for weights in search.final_weights:
            yield len(search.refit_learning_rates) if weights == "retrained" else 1
        yield from (len(baseline.learning_rates) for baseline in config.baselines if baseline.same_size)


def training_steps(config: Config, selected: int | None = None) -> int:
    """Return the steps of all trainings after the search: every learning rate with one seed, and further seeds."""
    rates = [*(len(c.grid) for c in baseline_contenders(config)), *rates_of_found(config, selected)]
    return (sum(rates) + len(rates) * (config.seeds - 1)) * config.training.steps


def stages_of(context: Context) -> dict[str, float]:
    """Return the steps of each stage of a run, about; tests in the steps that take as long."""
    config, trials = context.config, SearchSpace.in_context(context).trials
    methods = len([*baseline_contenders(config)]) + len([*rates_of_found(config)])
    stages = {
        "search": trials * expected_steps(config),
        "trainings": float(training_steps(config)),
        "test": methods * config.seeds * test_steps(context),
    }
    if len(context.tasks) < 2:
        return stages
    trained_alone = methods_alone(config)
    grids = [contender.grid for contender in baseline_contenders(config) if contender.grid[0].method in trained_alone]
    alone = sum(len(grid) + config.seeds - 1 for grid in grids)
    if "slat" in trained_alone:
        rates = [*rates_of_found(config)]
        alone += sum(rates) + len(rates) * config.seeds
    stages["alone"] = float(alone * config.training.steps)  # each task has its share of the steps
    if config.multitask.transfer:
        trainings = len(config.search.refit_learning_rates) + config.seeds - 1
        stages["transfer"] = float((len(context.tasks) + 1) * trainings * config.training.steps)
    return stages
