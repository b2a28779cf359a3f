"""How a run, and the studies of one, open their folder: everything is checked before the folder changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from .baselines import apply_method
from .comparison.contenders import method_options
from .config import Config
from .config.search import ALL_KINDS
from .errors import SlatError
from .provenance import check_unchanged, environment, kept_revision
from .records import Environment
from .run_folder import Fields, RunFolder
from .structure import Structure, find_sites
from .structure.kinds import KINDS
from .tasks import SPLITS, TaskData
from .training.context import Context, prepare
from .training.trial import space

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A folder that is held, with what is trained in it.

    Attributes:
        folder: of the run or the studies.
        config: what is asked for.
        overwrite: whether what is there is to be deleted.
        context: model, encoded tasks and configuration of the trainings.
        tasks: texts and labels.
        environment: of this machine, model and tasks.
        is_done: whether nothing is left to do.
    """

    folder: RunFolder
    config: Config
    overwrite: bool
    context: Context
    tasks: Sequence[TaskData]
    environment: Environment
    is_done: bool

    def begin(self) -> None:
        """Mark the folder as a run in progress, without the earlier one if that is overwritten."""
        if self.overwrite:
            self.folder.clear()
        self.folder.begin(self.config, self.environment)
        for task in self.tasks:
            _log.info(describe(task))


def check_options(resume: bool, overwrite: bool) -> None:
    """Check that not both options are set.

    Raises:
        SlatError: both are.
    """
    if resume and overwrite:
        raise SlatError("--resume continues what is in the folder and --overwrite throws it away; give one of them")


def check_perturbed(config: Config) -> None:
    """Check that a run has perturbed texts to test on.

    Raises:
        SlatError: it has none.
    """
    if not any(config.evaluation.ratios):
        raise SlatError("evaluation.ratios: one above 0 is needed; a run tells what perturbed text does to each method")


def open_folder(
    folder: RunFolder,
    config: Config,
    resume: bool,
    overwrite: bool,
    may_differ: Fields | None = None,
    may_grow: Fields | None = None,
) -> Opened:
    """Check a folder that is locked, and load tasks and model.

    Args:
        may_differ, may_grow: see :meth:`.RunFolder.already_done`.

    Raises:
        SlatError: wrong input, a folder of others, of an unfinished run without ``resume``, or of a run of another
            configuration, of other texts or another model.
    """
    folder.check_free()
    done = not overwrite and folder.already_done(config, resume, may_differ, may_grow)
    context, tasks = prepare(config, None if overwrite else kept_revision(folder))
    now = environment(context, tasks)
    if not overwrite:
        check_unchanged(folder, now)
    if done:
        _log.info(f"{folder.root} is done already")
    return Opened(folder, config, overwrite, context, tasks, now, done)


def describe(task: TaskData) -> str:
    """Describe a task in a line (name, texts per split, classes), and each note on its splits in another."""
    sizes = " / ".join(str(len(task.splits[split])) for split in SPLITS)
    return "\n".join([f"task {task.name}: {sizes} texts, {len(task.labels)} classes", *task.notes])


def check_methods(context: Context) -> Structure:
    """Put every method on the backbone once, before hours are spent; returns the whole supernet.

    Raises:
        SlatError: a method or the search space does not fit this model.
    """
    config, backbone = context.config, context.backbone().model
    for baseline in config.baselines:
        options = method_options(baseline.sized(1000), config)
        apply_method(baseline.method, backbone, {**options, "seed": 0}).undo()
    whole = space(config).supernet(find_sites(backbone, config.space.include, config.space.exclude))
    _check_budget(context, whole)
    return whole


def _check_budget(context: Context, whole: Structure) -> None:
    """Check that each set of kinds has a candidate that fits the smallest budget of the search.

    Raises:
        SlatError: one has none, so that a trial of it could end as the bare head alone.
    """
    config = context.config
    budget = config.search.space.budget
    if budget is None or config.search.method != "gates":
        return
    low = budget.in_parameters(context.backbone_params).low
    for kinds in config.kind_sets:
        modules = [m for m in whole.modules if kinds == ALL_KINDS or m.kind in kinds.split("+")]
        groups = ((config.space.kinds[m.kind].group, m) for m in modules)
        least = min((min(group, m.size) * KINDS[m.kind].unit_cost(m.site) for group, m in groups), default=0)
        if low < least:  # where nothing stands at all there is no least
            raise SlatError(
                f"search.space.budget.low: no candidate of the kinds {kinds} has so few parameters as {low:g}; give at "
                f"least {least}"
            )
