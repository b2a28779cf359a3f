"""The page of a search whose structures are not trained again yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..errors import SlatError
from ..files import write_text
from ..records import Environment, KeptConfig
from ..run_folder import RunFolder
from .data import read_structures, read_trials
from .drawing import on_page
from .page import (
    as_yaml,
    described,
    task_rows,
    template,
)
from .plots import HISTORY, histories, kinds_of, trial_rows
from .svg import gate_map, gate_map_legend
from .table_files import read_csv

NOTHING_TESTED = "A search alone: what it found is not trained again yet, and nothing was tested."


@dataclass(frozen=True)
class SearchData:
    """A search and its trials.

    Attributes:
        config, environment: of the run.
        trials, history: a row a trial and a row a report.
        structures: label -> JSON of each chosen structure.
    """

    config: KeptConfig
    environment: Environment
    trials: pd.DataFrame
    history: pd.DataFrame
    structures: dict[str, dict[str, Any]]


def read_search(run: RunFolder) -> SearchData:
    """Read a search that is over.

    Raises:
        SlatError: a file is missing or damaged, or no trial reported anything.
    """
    trials = read_trials(run)
    if "quality" not in trials or "refitted" not in trials:
        raise SlatError(f"{run.root}: no trial of the search reported anything")
    return SearchData(
        config=KeptConfig.of(run),
        environment=Environment.read(run / "environment.json"),
        trials=trials,
        history=read_csv(run / "history.csv"),
        structures=read_structures(run),
    )


def chosen(data: SearchData) -> pd.DataFrame:
    """Trials whose structures were chosen, as people read them."""
    rows = data.trials[data.trials["refitted"] == "yes"]
    found = [data.structures.get(f"slat-{digest[:6]}", {"modules": []}) for digest in rows["structure"]]
    return pd.DataFrame(
        {
            "trial": rows["trial"],
            "validation": [f"{value:.3f}" for value in rows["quality"]],
            "retained": [f"{value:.1%}" for value in rows["retained"]],
            "parameters": [f"{value:,.0f}" for value in rows["params"]],
            "structure": rows["structure"],
            "modules": [kinds_of(its["modules"]) for its in found],
        }
    )


def analyse_search(run: RunFolder) -> None:
    """Write ``report.html`` of a search that is over."""
    data = read_search(run)
    model = data.environment.model
    maps = [
        {"label": label, "map": gate_map(found["modules"], model.layers, model.site_columns, label)}
        for label, found in data.structures.items()
    ]
    page = template("search.html.j2").render(
        name=data.config.name,
        answer=NOTHING_TESTED,
        chosen=chosen(data),
        maps=maps,
        legend=gate_map_legend(m for s in data.structures.values() for m in s["modules"]),
        histories=on_page(histories(data), "history", HISTORY, right=24),
        trials=trial_rows(data.trials),
        environment=described(data.environment),
        tasks=task_rows(data.environment),
        config=as_yaml(data.config.raw),
    )
    write_text(run / "report.html", page)
