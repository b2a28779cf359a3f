"""What each method was given: trainings, steps and seconds, the search with its trials beside them."""

from __future__ import annotations

import pandas as pd

from ..run_folder import RunFolder, read_json
from .tables import RunData

SEARCH = "the search itself"


def budgets(run: RunFolder, data: RunData) -> pd.DataFrame:
    """One row a method, in the order of the results, and one for the search: ``name tuned trainings steps seconds``.

    ``tuned`` counts the settings that were tried on validation, ``trainings`` those and the repetitions with further
    seeds; a training that serves as both counts once. What diverged counts with the steps that it was given.
    """
    tuned = {name: len(record["tried"]) for name, record in data.selection["tuning"].items()}
    spent: dict[str, list[tuple[int, float]]] = {}
    given = data.config["training"]["steps"]
    for path in sorted((run / "units").glob("*.train.json")):
        trained = read_json(path)
        cost = (trained.get("steps", given), trained.get("seconds", 0.0))
        spent.setdefault(trained["unit"]["label"], []).append(cost)
    rows = []
    for label, name in data.results.groupby("method", sort=False)["name"].first().items():
        mine = spent.get(str(label), [])
        rows.append((name, tuned.get(name, 0), len(mine), sum(c[0] for c in mine), sum(c[1] for c in mine)))
    trials = data.trials
    rows.append((SEARCH, len(trials), len(trials), int(trials["step"].fillna(0).sum()), trials["seconds"].sum()))
    return pd.DataFrame(rows, columns=["name", "tuned", "trainings", "steps", "seconds"])
