"""The budget of each method: trainings, steps and seconds, the search with its trials beside them."""

from __future__ import annotations

import pandas as pd

from ..records import Trained, read_training
from ..run_folder import RunFolder
from .data import RunData

SEARCH = "the search itself"


def budgets(run: RunFolder, data: RunData) -> pd.DataFrame:
    """One row a method, in the order of the results, and one for the search: ``name tuned trainings steps seconds``.

    ``tuned`` counts the settings that were tried on validation, ``trainings`` those and the repetitions with further
    seeds; a training that serves as both counts once. What diverged counts with the steps that it was given. What was
    trained for each task alone counts with all of its tasks.
    """
    tuning, whole = data.selection.tuning, data.config.steps
    spent: dict[str, list[tuple[int, float]]] = {}
    for folder in dict.fromkeys(final.files_in(run) for final in data.selection.finals):
        # label in tables of each label that trainings here have
        labels = {final.unit_label: final.label for final in data.selection.finals if final.files_in(run) == folder}
        steps = whole // len(data.tasks) if folder.name != "units" else whole
        for path in sorted(folder.glob("*.train.json")):
            trained = read_training(path)
            cost = (trained.steps, trained.seconds) if isinstance(trained, Trained) else (steps, 0.0)
            spent.setdefault(labels.get(trained.job.label, ""), []).append(cost)
    rows = []
    for label, part in data.results.groupby("method", sort=False):
        costs = spent.get(str(label), [])
        tuned = sum(len(tuning[title].tried) for title in part["tuned_as"].unique() if title in tuning)
        rows.append((part["name"].iloc[0], tuned, len(costs), sum(c[0] for c in costs), sum(c[1] for c in costs)))
    trials = data.trials
    rows.append((SEARCH, len(trials), len(trials), int(trials["step"].fillna(0).sum()), trials["seconds"].sum()))
    return pd.DataFrame(rows, columns=["name", "tuned", "trainings", "steps", "seconds"])
