"""The sensitivity studies of a configuration, end to end; see ``slat sensitivity --help``."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .analysis.formats import to_csv
from .analysis.importance import of_screening
from .analysis.report import analyse
from .analysis.studies import analyse_studies
from .comparison.job_runner import JobRunner
from .comparison.sensitivity import run_studies
from .config import Config, as_config
from .errors import SlatError
from .files import write_json, write_listed
from .opening import check_methods, check_options, open_folder
from .run_folder import STUDIES, RunFolder, results_stay
from .search.runtime import ray_session
from .search.space import SearchSpace
from .search.trial_log import trials_table
from .search.tune import run_search
from .training.context import Context

_log = logging.getLogger(__name__)


def run(
    config: Config | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
    storage: str | None = None,
) -> RunFolder:
    """Study the effect of sparsity weight, training noise and perturbed text on the search and on each baseline; over
    several tasks also of the sharing weight.

    The studies have a folder of their own in the run's; where the run is done, its report gets them as a section.

    Args:
        config: a configuration, its fields as a mapping, or the path of its YAML.
        out: run folder; ``runs/<name>`` by default. The studies go to ``sensitivity`` in it.
        resume: continue studies that were interrupted, or that have become more: the lists of weights, kinds, ratios
            and baselines and the numbers of seeds and trials may have changed.
        overwrite: throw existing studies away, once everything else is known to be right.
        address: Ray cluster to run on; a Ray of our own on this machine by default.
        storage: where trials on several nodes leave checkpoints, a path or URI that all of them reach.

    Raises:
        SlatError: wrong input, or a folder that holds other or unfinished studies.
    """
    check_options(resume, overwrite)
    config = as_config(config)
    sized = next((baseline.method for baseline in config.baselines if baseline.same_size), None)
    if sized:
        raise SlatError(f"baselines: {sized} has the size of found structures; studies have none, so give it a budget")
    if config.search.method == "static":
        raise SlatError("search.method: the studies are of a search by gates; a static one has no sparsity to study")
    run_folder = RunFolder(out or Path("runs") / config.name)
    folder = RunFolder(run_folder / STUDIES)
    began = time.perf_counter()
    with folder.lock():
        opened = open_folder(
            folder,
            config,
            resume,
            overwrite,
            may_differ={"search": _NOT_SEARCHED, "multitask": _NOT_POOLED},
            may_grow=_MAY_GROW,
        )
        if opened.is_done:
            return folder
        context = opened.context
        check_methods(context)
        opened.begin()
        with ray_session(address):
            runner = JobRunner(context, folder / "units")
            clean_runner = JobRunner(context.tested_clean(), folder / "units")
            run_studies(runner, clean_runner, folder)
            if config.sensitivity.screening:
                _screen(context, folder, storage)
        analyse_studies(folder)
        write_json(folder / "done.json", {"seconds": round(time.perf_counter() - began, 1)})
        if run_folder.is_done:
            with results_stay(run_folder):
                analyse(run_folder)
    _log.info(f"done in {time.perf_counter() - began:.0f} s")
    return folder


#: of the section ``search``, what the screening does not use
_NOT_SEARCHED = {
    *("trials", "num_selected", "sampler", "initial_points", "warm_start", "tolerance", "refit_learning_rates"),
    *("final_weights", "trackers", "time_limit"),
}
#: of the section ``multitask``, what they do not use
_NOT_POOLED = {"alone", "transfer"}
#: what may change when the studies are resumed
_MAY_GROW = {
    STUDIES: {"weights", "sharings", "noise_kinds", "noise_ratios", "screening"},
    "name": True,
    "preset": True,
    "resources": True,
    "seeds": True,
    "baselines": True,
}


def _screen(context: Context, folder: RunFolder, storage: str | None) -> None:
    """Run trials spread evenly over the whole search space, none of them stopped, so that all can be compared."""
    config = context.config
    trials = config.sensitivity.screening
    _log.info(f"sensitivity: screening, {trials} trials over the whole space")
    scheduler = config.search.scheduler.model_copy(update={"name": "none"})
    spread = {"trials": trials, "sampler": "sobol", "initial_points": (), "warm_start": (), "scheduler": scheduler}
    search = config.search.model_copy(update={**spread, "time_limit": None})
    screening = replace(context, config=config.model_copy(update={"search": search}))
    table = trials_table(run_search(screening, folder / "screening", storage))
    write_listed(folder / "screening.csv", to_csv(table))
    mattered = of_screening(table, SearchSpace.in_context(screening).distributions, config.seed)
    write_listed(folder / "importance.csv", to_csv(mattered))
