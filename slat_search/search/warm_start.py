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
_FILE = "earlier.json"
_MAY_DIFFER = frozenset({"name", "seed", "seeds", "search", "baselines", "sensitivity", "resources"})


def warm_start_trials(config: Config, space: SearchSpace, search: Path) -> list[Trial]:
    """Return finished trials of the runs in ``search.warm_start`` that lie in this space.

    They are stored in the folder of the ``search``: when it resumes, the earlier runs may have continued or been
    removed.

    Raises:
        SlatError: see :func:`check_warm_start`.
    """
    if not config.search.warm_start:
        return []
    path = search / _FILE
    if not has_read_earlier(search):
        check_warm_start(config)
        trials = tuple(trial for run in config.search.warm_start for trial in _trials_of_run(space, run))
        EarlierTrials(trials=trials).write(path)
    return [
        Trial(-1 - number, trial.sampled, "completed", (trial.measures,))
        for number, trial in enumerate(EarlierTrials.read(path).trials)
    ]


def has_read_earlier(search: Path) -> bool:
    """Whether a search has read the trials of its earlier runs."""
    return (search / _FILE).is_file()


def check_warm_start(config: Config) -> None:
    """Check the runs in ``search.warm_start``.

    Raises:
        SlatError: a folder is not a run, or its trials were trained in another way and cannot be compared.
    """
    for run in config.search.warm_start:
        if not (run / "config.yaml").is_file():
            raise SlatError(f"search.warm_start: {run} is not a run folder")
        earlier_config = load_config(run / "config.yaml", stored=True)
        changes = differences(earlier_config, config, dict.fromkeys(_MAY_DIFFER, True))
        if changes:
            raise SlatError(
                f"search.warm_start: {run} has another configuration, and values of its trials cannot be compared with "
                f"these: {told(changes)}"
            )


def _trials_of_run(space: SearchSpace, run: Path) -> list[EarlierTrial]:
    trials = [trial for trial in TrialLog(run / "search" / "ledger.jsonl").trials if trial.status == "completed"]
    usable = [trial for trial in trials if space.holds(trial.sampled)]
    note = f"; {len(trials) - len(usable)} more are outside of the search space" if usable != trials else ""
    _log.info(f"search: learns from {len(usable)} trials of {run.name}{note}")
    return [EarlierTrial(sampled=trial.sampled, measures=trial.measures) for trial in usable]
