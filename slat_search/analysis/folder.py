"""Show the results in a folder, and make pages of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import SlatError
from ..files import read_text
from ..run_folder import (
    COMPARISON,
    STUDIES,
    RunFolder,
    outcome,
    without_results,
)
from .formats import to_markdown
from .listing import listed
from .report import analyse, analyse_kept
from .search import (
    NOTHING_TESTED,
    analyse_search,
    chosen,
    read_search,
)
from .studies import analyse_studies
from .studies.data import read_studies
from .studies.words import summary
from .table_files import read_csv


def show(run: RunFolder, stage: str | None = None) -> str:
    """The comparison of a run and what it comes to; as much of that as there is, also of a search or of sensitivity
    studies alone, of a comparison of runs, of what was kept of one, and of a benchmark.

    Args:
        stage: ``search`` or ``baselines``, to show what this stage of a run made, and nothing of the others.

    Raises:
        SlatError: there is nothing of a run.
    """
    parts = [*_shown(run, stage)] or [*_benchmark(run)]
    if not parts:
        raise SlatError(without_results(run))
    return "\n".join(parts)


def facts(run: RunFolder) -> dict[str, Any]:
    """Return what :func:`show` prints as JSON values.

    Returns:
        The fields of :class:`.Listed`; ``answer``; ``table``, a row a method (of a search alone a row a chosen trial);
        ``report``, a path or None.

    Raises:
        SlatError: there is nothing of a run.
    """
    text = show(run)  # which raises where there is nothing
    state = vars(listed(run.root)) if run.exists else {"path": str(run.root), "state": ""}
    answer, pages = run / "answer.md", [run / "report.html", run / "comparison.html"]
    return {
        **state,
        "answer": answer.read_text(encoding="utf-8").strip() if answer.is_file() else text.strip(),
        "table": json.loads(_table(run).to_json(orient="records")),
        "report": next((str(page) for page in pages if page.is_file()), None),
    }


def _table(run: RunFolder) -> pd.DataFrame:
    """Return the numbers behind the table that is shown; empty where there are none."""
    if (run / "comparison.csv").is_file():
        return read_csv(run / "comparison.csv", dtype={"structure": str})
    if (run / "trials.csv").is_file() and not _is_studies(run):
        trials = read_search(run).trials
        return trials[trials["refitted"] == "yes"]
    return read_csv(run / "baselines.csv", dtype=str) if (run / "baselines.csv").is_file() else pd.DataFrame()


def _shown(run: RunFolder, stage: str | None) -> Iterator[str]:
    if stage is None and (run / "comparison.md").is_file():
        yield outcome(run)
        if _is_unfinished(run):
            yield "not finished: `slat run CONFIG --resume` continues it"
    elif stage != "baselines" and (run / "trials.csv").is_file() and not _is_studies(run):
        yield f"{NOTHING_TESTED} `slat run CONFIG --resume` does the rest.\n"
        yield to_markdown(chosen(read_search(run)))
    elif (run / "baselines.csv").is_file():
        yield "Baselines alone, on validation: nothing was tested. `slat run CONFIG --resume` does the rest.\n"
        yield to_markdown(read_csv(run / "baselines.csv", dtype=str))
    if stage is not None:
        return
    for studies in (run, RunFolder(run / STUDIES)):
        if _is_studies(studies):
            yield "\n".join(summary(read_studies(studies))) + "\n"
            if studies is not run and (studies / "report.html").is_file():
                yield f"report: {studies / 'report.html'}"
    for page in ("report.html", "comparison.html"):
        if (run / page).is_file():
            yield f"report: {run / page}"


def _benchmark(run: RunFolder) -> Iterator[str]:
    """The tables that a benchmark keeps, and where its rows and figures are."""
    rows = [path for path in (run / "results.json", run / f"{run.root.name}.json") if path.is_file()]
    if rows:
        for table in sorted(run.root.glob("*.md")):
            yield read_text(table)
        for path in (*rows, *sorted(run.root.glob("*.png"))):
            yield f"result of a benchmark: {path}"


def make_report(run: RunFolder) -> Path:
    """Write pages and figures of what a folder holds, and tables where its trainings are there; returns the page.

    Raises:
        SlatError: there is nothing to make a page of.
    """
    if (run / COMPARISON).is_file():
        raise SlatError(f"{run.root}: is a comparison of runs; `slat compare` makes it anew from its runs")
    trained = (run / "units").is_dir()
    if _is_studies(run):
        analyse_studies(run)
    elif (run / "results.csv").is_file() and (run / "selection.json").is_file():
        analyse(run) if trained else analyse_kept(run)
    elif (run / "trials.csv").is_file():
        analyse_search(run)
    elif _is_studies(RunFolder(run / STUDIES)):
        return make_report(RunFolder(run / STUDIES))
    else:
        raise SlatError(without_results(run))
    return run / "report.html"


def _is_unfinished(run: RunFolder) -> bool:
    return (run / "units").is_dir() and not run.is_done


def _is_studies(run: RunFolder) -> bool:
    return (run / "points.json").is_file() and (run / "curves.csv").is_file()
