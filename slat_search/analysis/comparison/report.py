"""``slat compare``: tables, figures and one page over finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from ...errors import SlatError
from ...files import keep_digests, write_json, write_listed, write_text
from ...run_folder import COMPARISON
from ..drawing import in_rows, inline, on_page, save
from ..formats import to_csv
from ..overlap import overlaps
from ..page import template
from ..panels import Point, scatter
from . import figures
from .compared import Compared, all_rows
from .runs import read_runs
from .table import (
    AVERAGE,
    comparison,
    hypervolumes_by_task,
    rank_summary,
    reference_method,
)
from .tested import PAIRS, tests
from .words import (
    NOTE,
    POOLS,
    answer,
    html,
    latex,
    markdown,
    tests_shown,
    wide,
)

_ALT = {
    "ranks": "Methods along an axis of mean ranks.",
}


def compare_runs(folders: Sequence[str | Path], out: str | Path, against: str | None = None) -> Path:
    """Compare finished runs over tasks and models; returns the page.

    Writes to ``out``: ``results.csv`` (every row of every run, and under ``as`` which method it stands for),
    ``comparison.csv``, ``.md``, ``.tex``, ``.html``, ``tests.csv``, ``hypervolume.json``, ``ranks.json``, ``figures/``.

    Args:
        folders: or ``LABEL=FOLDER``: where runs of one task have methods in common, these are named with the label, so
            that two searches, over several tasks each, have an average.
        against: the method that all others are tested against; the baseline that is best on validation by default.

    Raises:
        SlatError: a folder is no finished run, there is no method ``against``, or ``out`` holds other things.
    """
    out = Path(out)
    if out.is_dir() and any(out.iterdir()) and not (out / COMPARISON).is_file():
        raise SlatError(f"--out: {out} is not empty and holds no comparison; choose another")
    runs = read_runs(folders)
    table = comparison(runs)
    if against is not None and against not in set(table["method"]):
        raise SlatError(f"--against: no method {against!r}; there are {', '.join(table['method'].unique())}")
    reference = against or reference_method(table)
    tested = tests(runs, reference) if reference is not None else pd.DataFrame()
    ranked = rank_summary(table)
    volumes = hypervolumes_by_task(runs)
    try:
        keep_digests(out)
        write_json(out / COMPARISON, {"runs": [str(folder) for folder in folders]})
        write_listed(out / "results.csv", to_csv(all_rows(runs)))
        write_listed(out / "comparison.csv", to_csv(table))
        write_listed(out / "comparison.md", markdown(table))
        write_text(out / "comparison.tex", latex(table))
        write_listed(out / "tests.csv", to_csv(tested))
        write_json(out / "hypervolume.json", volumes)
        write_json(out / "ranks.json", ranked)
        ranks = {"ranks": figures.mean_ranks(ranked)} if ranked else {}
        save(out / "figures", {"attained": in_rows(figures.attained(runs), right=16)[0], **ranks})
        write_text(out / "comparison.html", _page(runs, table, tested, ranked, volumes, ranks))
    except NotADirectoryError as error:
        raise SlatError(f"--out: {out} is no folder") from error
    return out / "comparison.html"


def _page(
    runs: Sequence[Compared],
    table: pd.DataFrame,
    tested: pd.DataFrame,
    ranked: dict[str, Any],
    volumes: dict[str, Any],
    drawn: dict[str, Figure],
) -> str:
    shown = wide(table)
    return template("comparison.html.j2").render(
        name=", ".join(dict.fromkeys(run.name for run in runs)),
        sentences=answer(table, tested, ranked) or ["No structure was found in these runs."],
        columns=list(shown.columns),
        rows=[[html(cell) for cell in row] for row in shown.values.tolist()],
        found=[place for place, name in enumerate(shown["method"]) if name.startswith("SLAT")],
        note=NOTE + (POOLS if any(run.tasks > 1 for run in runs) else ""),
        scatters=[_scatter(part, str(name)) for name, part in table.groupby("dataset", sort=False)],
        near=_near(table),
        tests=tests_shown(tested),
        by_pairs=PAIRS in set(tested.get("over", ())),
        best_baseline=reference_method(table) in set(tested.get("minus", ())),
        attained=on_page(
            figures.attained(runs), "", "over parameters that half of the seeds attain, found and baselines", right=16
        ),
        volumes=[
            (task, *(_bounds(parts[part]) for part in ("found", "baselines", "all"))) for task, parts in volumes.items()
        ],
        overlaps=overlaps({_title(run): run.structure for run in runs if run.structure is not None}),
        figures={name: inline(figure, _ALT[name]) for name, figure in drawn.items()},
        runs=[_described(run, labels=any(run.label for run in runs)) for run in runs],
    )


def _bounds(volume: dict[str, float]) -> str:
    return "{value:.3f} ({low:.3f} to {high:.3f})".format_map(volume)


def _described(run: Compared, labels: bool) -> dict[str, str]:
    told = {"name": run.name, "dataset": run.dataset, "metric": run.metric, "texts": f"{run.texts:,}"}
    return {"label": run.label, **told} if labels else told


def _title(run: Compared) -> str:
    """Describe what a run found for its task."""
    return f"{run.name}, {run.task.name}" if run.tasks > 1 else run.name


def _scatter(part: pd.DataFrame, name: str) -> Markup:
    points = []
    for row in part.to_dict("records"):
        bounds = [row["quality"] if pd.isna(row[end]) else row[end] for end in ("low", "high")]
        details = [
            f"test {row['quality']:.3f}, retained {row['retained']:.1%}, rank {row['rank']:.1f}",
            f"{row['params']:,.0f} parameters, {row['params_percent']:.3f} % of the backbone",
            f"{row['train_seconds']:.0f} s a training",
        ]
        found = row["family"] == "slat"
        points.append(Point(row["method"], row["params"], row["quality"], bounds[0], bounds[1], found, details))
    over = "mean over tasks" if name == AVERAGE else name
    (plot,) = on_page(
        [partial(scatter, points=points, ylabel=f"test quality, {over}")],
        "scatter",
        "over adapter parameters, a mark a method",
    )
    return plot


def _near(table: pd.DataFrame) -> list[dict[str, str]]:
    """For each task: the best, the knee and the smallest within 1 % of the best."""
    rows = []
    for name, part in table.groupby("dataset", sort=False):
        best = part.iloc[int(part["quality"].argmax())]
        least = part[part["smallest_near_best"]].iloc[0]
        share = least["quality"] / best["quality"] if best["quality"] else 1.0
        rows.append(
            {
                "task": str(name),
                "best": str(best["method"]),
                "knee": str(next(iter(part["method"][part["knee"]]), "-")),
                "smallest within 1 % of the best": f"{least['method']} ({least['params']:,.0f}, {share:.1%})",
            }
        )
    return rows
