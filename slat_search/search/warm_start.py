"""Trials of earlier runs, for a sampler to learn from before it suggests its first."""

from __future__ import annotations

import logging
from pathlib import Path

from ..config import (
    Config,
    differences,
    load_config,
    told,
)
from ..errors import SlatError
from ..records import EarlierTrial, EarlierTrials
from .space import SearchSpace
from .trial_log import Trial, TrialLog

_log = logging.getLogger(__name__)
_KEPT = "earlier.json"
_MAY_DIFFER = frozenset({"name", "seed", "seeds", "search", "baselines", "sensitivity", "resources"})


def warm_start_trials(config: Config, space: SearchSpace, search: Path) -> list[Trial]:
    """Finished trials of the runs in ``search.warm_start`` that could be trials of this space.

    What was read is kept in the folder of the ``search``: the run that it came from may have gone on, or be gone, when
    the search itself goes on.

    Raises:
        SlatError: see :func:`check_warm_start`.
    """
    if not config.search.warm_start:
        return []
    keep = search / _KEPT
    if not has_read_earlier(search):
        check_warm_start(config)
        trials = tuple(trial for run in config.search.warm_start for trial in _of_run(space, run))
        EarlierTrials(trials=trials).write(keep)
    return [
        Trial(-1 - place, trial.sampled, "completed", (trial.measures,))
        for place, trial in enumerate(EarlierTrials.read(keep).trials)
    ]


def has_read_earlier(search: Path) -> bool:
    """Whether a search has read its earlier runs."""
    return (search / _KEPT).is_file()


def check_warm_start(config: Config) -> None:
    """Check the runs in ``search.warm_start``.

    Raises:
        SlatError: a folder is no run, or its trials were trained in another way and cannot be compared.
    """
    for run in config.search.warm_start:
        if not (run / "config.yaml").is_file():
            raise SlatError(f"search.warm_start: {run} is not a run folder")
        earlier = load_config(run / "config.yaml", stored=True)
        changed = differences(earlier, config, dict.fromkeys(_MAY_DIFFER, True))
        if changed:
            raise SlatError(
                f"search.warm_start: {run} has another configuration, and values of its trials cannot be compared with "
                f"these: {told(changed)}"
            )


def _of_run(space: SearchSpace, run: Path) -> list[EarlierTrial]:
    completed = [trial for trial in TrialLog(run / "search" / "ledger.jsonl").trials if trial.status == "completed"]
    usable = [trial for trial in completed if space.holds(trial.sampled)]
    outside = f"; {len(completed) - len(usable)} more are outside of the search space" if usable != completed else ""
    _log.info(f"search: learns from {len(usable)} trials of {run.name}{outside}")
    return [EarlierTrial(sampled=trial.sampled, measures=trial.measures) for trial in usable]
