"""One run, end to end: search, choose, refit and baselines, test, report. Each stage keeps what it made."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from .adapters import save_adapters
from .analysis.data import frame, read_run
from .analysis.formats import to_csv
from .analysis.fronts import choose_members
from .analysis.mistakes import TestTexts, write_mistakes
from .comparison.contenders import (
    train_baselines,
    train_finals,
    write_found,
)
from .comparison.counts import stages_of, training_steps
from .comparison.job_runner import JobRunner
from .comparison.single_task import train_alone, train_transfers
from .config import Config, as_config
from .errors import SlatError
from .files import write_json, write_listed
from .opening import check_methods, check_options, check_perturbed, open_folder
from .provenance import check_earlier_texts
from .records import Environment, Selection, TransferRow
from .result import RunResult
from .run_folder import STUDIES, RunFolder, results_stay
from .search.overall import RunProgress
from .search.runtime import ray_session
from .search.space import SearchSpace
from .search.trackers import trackers
from .search.trial_log import Trial, trials_table
from .search.tune import run_search
from .search.warm_start import check_warm_start, has_read_earlier
from .tasks import TaskData
from .training.context import Context

if TYPE_CHECKING:
    from ray.tune import Callback

_log = logging.getLogger(__name__)
#: what a run can do alone
Stage = Literal["search", "baselines"]
#: what may differ from the configuration of a run that is resumed, as pydantic's ``exclude``: none of it changes what
#: a training that is there came to, only which of them there are, and what is made of them
_MAY_GROW = {
    "name": True,
    "preset": True,
    "resources": True,
    "seeds": True,
    "baselines": True,
    "multitask": {"alone", "transfer"},
    "search": {
        *("trials", "time_limit", "num_selected", "final_weights", "refit_learning_rates", "tolerance", "trackers"),
    },
}


def run(
    config: Config | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    address: str | None = None,
    storage: str | None = None,
    stage: Stage | None = None,
    callbacks: Sequence[Callback] = (),
) -> RunResult:
    """Run a whole configuration; see ``slat run --help``.

    Args:
        config: a configuration, its fields as a mapping, or the path of its YAML.
        out: run folder; ``runs/<name>`` by default.
        resume: continue a run that was interrupted, or one whose trials, seeds, baselines or analysis settings have
            changed; resources may differ, too.
        overwrite: delete an existing run, after all other checks have passed.
        address: Ray cluster; by default a local Ray is started.
        storage: path or URI for the checkpoints of trials that all nodes can reach.
        stage: run only this stage; a later run with ``resume`` does the rest. ``search`` ends when structures are
            chosen, ``baselines`` when hand-made methods are trained. Neither reads the test texts.
        callbacks: further callbacks of Ray Tune's for the search, which see each trial's reports; an error in one ends
            the run, as it does in Ray Tune, and ``resume`` goes on.

    Returns:
        The run folder, with its tables, what it recommends and a predictor.

    Raises:
        SlatError: invalid input, texts or a model other than those of the resumed run, or a folder that holds another
            or an unfinished run.
    """
    check_options(resume, overwrite)
    config = as_config(config)
    check_perturbed(config)
    folder = RunResult(out or Path("runs") / config.name)
    began = time.perf_counter()
    with folder.lock():
        opened = open_folder(folder, config, resume, overwrite, may_differ={STUDIES: True}, may_grow=_MAY_GROW)
        if opened.is_done:
            return folder
        context, tasks = opened.context, opened.tasks
        supernet = check_methods(context)
        # before the folder is a run, so that what is wrong in them is known now
        SearchSpace.in_context(context)
        _check_earlier(config, folder, opened.environment, overwrite)
        trackers(config)
        opened.begin()
        _log.info(f"model {config.model.name}: {context.backbone_params:,} frozen parameters")
        _log.info(f"supernet: {supernet.describe()}")
        with ray_session(address):
            progress = RunProgress(_stages(context, stage))
            with progress.shown():
                whole = _work(context, tasks, folder, stage, storage, progress, callbacks)
        if not whole:
            return folder
        write_json(folder / "done.json", {"seconds": round(time.perf_counter() - began, 1)})
    _log.info(f"done in {time.perf_counter() - began:.0f} s")
    return folder


def _check_earlier(config: Config, folder: RunFolder, now: Environment, overwrite: bool) -> None:
    """Check the runs of ``search.warm_start``, unless the search has read them already."""
    if overwrite and folder.root in config.search.warm_start:
        raise SlatError(f"search.warm_start: {folder.root} is what --overwrite throws away; choose another --out")
    if overwrite or not has_read_earlier(folder / "search"):
        check_warm_start(config)
        check_earlier_texts(config.search.warm_start, now)


def _stages(context: Context, stage: Stage | None) -> dict[str, float]:
    """Return the steps of what is to be done; see :func:`.stages_of`."""
    if stage == "baselines":
        return {"trainings": float(training_steps(context.config, selected=0))}
    stages = stages_of(context)
    return {"search": stages["search"]} if stage == "search" else stages


def _work(
    context: Context,
    tasks: Sequence[TaskData],
    folder: RunFolder,
    stage: Stage | None,
    storage: str | None,
    progress: RunProgress,
    callbacks: Sequence[Callback],
) -> bool:
    """Run all stages or one; True if all ran."""
    if stage == "baselines":
        with progress.bars():
            trained = train_baselines(JobRunner(context, folder / "units", progress))
        write_listed(folder / "baselines.csv", to_csv(trained))
        return False
    trials = run_search(context, folder / "search", storage, progress, callbacks)
    _write_trials(folder, trials)
    members = choose(trials, context.config.search.num_selected)
    folder.choose_anew()
    _write_trials(folder, trials, members)
    if stage == "search":
        write_found(folder, members)
        return False
    progress.expect("trainings", training_steps(context.config, len(members)))
    with progress.bars():
        _compare(context, folder, members, progress)
    from .analysis.report import illustrate, tabulate  # on use, as what draws takes half a second to import

    data = read_run(folder)
    table = tabulate(folder, data)
    with results_stay(folder):
        write_mistakes(folder, table, data, {task.name: _test_texts(task) for task in tasks})
        illustrate(folder, data, table)
    return True


def _test_texts(task: TaskData) -> TestTexts:
    return TestTexts([example.texts for example in task.splits["test"]], task.scale)


def _compare(context: Context, folder: RunFolder, members: Sequence[Trial], progress: RunProgress) -> None:
    """Train and test selected structures and baselines; save their adapters."""
    runner = JobRunner(context, folder / "units", progress)
    finals, selection = train_finals(runner, members, folder)
    _log.info(f"test: {len(finals)} trained models, clean and perturbed; read once")
    runner.evaluate([job for _, job in finals])
    save_adapters(folder / "adapters", runner, finals)
    if len(context.tasks) > 1:
        from .analysis.report import tabulate

        tabulate(folder, read_run(folder))  # joint results stay usable if a later step fails
        _train_apart(context, folder, members, selection, progress)


def _train_apart(
    context: Context, folder: RunFolder, members: Sequence[Trial], selection: Selection, progress: RunProgress
) -> None:
    """Train and test each task alone, and what tasks use of a pool on other tasks; adds to ``selection.json`` and
    writes ``transfer.csv``."""
    contexts = {task: context.of(number) for number, task in enumerate(context.names)}
    for task, single in contexts.items():
        runner = JobRunner(single, folder / "units" / "alone" / task, progress, "alone")
        trainings, finals = train_alone(task, runner, members)
        save_adapters(folder / "adapters", runner, trainings, alone=task)
        selection = selection.with_more(finals.finals, finals.tuning)
    selection.write(folder / "selection.json")
    (folder / "transfer.csv").unlink(missing_ok=True)
    if context.config.multitask.transfer:
        where = folder / "units" / "transfer"
        bare = {
            task: JobRunner(single.tested_clean(), where / task, progress, "transfer")
            for task, single in contexts.items()
        }
        best = max(members, key=lambda trial: trial.measures.quality)
        rows = frame(train_transfers(bare, best), TransferRow)
        write_listed(folder / "transfer.csv", to_csv(rows))


def choose(trials: Sequence[Trial], members: int) -> list[Trial]:
    """Members of the Pareto set on validation, each trial as it was last reported.

    A structure without modules is the bare head: it is chosen only where nothing else was found.

    Stopped trials take part: their reports are of discretized structures too, which had fewer steps to train
    and can only look worse than they are.

    Raises:
        SlatError: no trial reported anything.
    """
    valid = [t for t in trials if t.structure is not None and t.status in ("completed", "stopped")]
    if not valid:
        raise SlatError("search: no trial reported a structure")
    valid = [t for t in valid if t.structure and t.structure.modules] or valid
    by_quality = sorted(valid, key=lambda t: t.measures.quality)
    best_of_each = {t.structure: t for t in by_quality}  # several trials may end at one structure
    candidates = sorted(best_of_each.values(), key=lambda t: t.number)
    frame = pd.DataFrame([t.measures.row() for t in candidates])
    return [candidates[i] for i in choose_members(frame, members)]


def _write_trials(folder: RunFolder, trials: Sequence[Trial], members: Sequence[Trial] = ()) -> None:
    """``trials.csv``: a row a trial; ``history.csv``: a row a report."""
    table = trials_table(trials)
    refitted = {t.number for t in members}
    table["refitted"] = ["yes" if number in refitted else "" for number in table["trial"]]
    write_listed(folder / "trials.csv", to_csv(table))
    history = [{"trial": t.number, **report.row()} for t in trials for report in t.history]
    write_listed(folder / "history.csv", to_csv(pd.DataFrame(history)))
