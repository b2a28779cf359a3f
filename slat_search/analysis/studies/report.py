"""The studies in a report: a page of their own, or a section of the run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matplotlib.figure import Figure

from ...files import write_listed, write_text
from ...run_folder import RunFolder
from ..drawing import inline, save
from ..formats import to_csv
from ..page import (
    as_yaml,
    described,
    task_rows,
    template,
)
from .data import Studies, read_studies
from .figures import figures_of
from .words import changes, summary

#: figure -> text alternative and caption
_FIGURES = {
    "sparsity": (
        "Two plots over the sparsity weight: test quality, and adapter parameters; level lines are the baselines.",
        "The sparsity weight. Solid: the search. Dashed: baselines, which have none.",
    ),
    "sharing": (
        "Two plots over the weight of sharing: test quality, and adapter parameters; level lines are the baselines.",
        "The weight of sharing: what a further user of the same part of the pool pays. Dashed: baselines.",
    ),
    "noise": (
        "Curves of test quality over the ratio of noise in training, a panel a kind of noise, a line a method.",
        "Noise in training. Every point is trained anew.",
    ),
    "perturbation": (
        "Curves of test quality over the share of perturbed words, a panel a kind, a line a method.",
        "Perturbed text, for methods that were trained without noise.",
    ),
    "importance": (
        "Bars of the share of variance that each setting of the search accounts for, a panel a measure.",
        "What mattered among the settings that a search samples (fANOVA on trials all over the space, none stopped). "
        "Dotted: the most that a random number gets; grey bars do not rise above it. Lines: 5 to 95 % of draws.",
    ),
}


_BY_TASK = "Curves of test quality over the ratio, a panel a task, a line a method."


def _by_task(studies: Studies) -> Iterator[tuple[str, str]]:
    """Figure and caption of each kind of noise and of perturbation, task by task."""
    for study, what in (("noise", "Noise in training"), ("perturbation", "Perturbed text")):
        for kind in studies.kinds(study) if studies.tasks else ():
            yield f"{study}_{kind}_by_task", f"{what}, {kind.replace('_', ' ')}, task by task."


def analyse_studies(folder: RunFolder) -> str:
    """Write tables, figures and ``report.html`` of finished studies; returns the outcome in words. Of studies that are
    kept without their trainings the tables stay as they are."""
    studies = read_studies(folder)
    if (folder / "units").is_dir():
        write_listed(folder / "results.csv", to_csv(studies.results))
        write_listed(folder / "curves.csv", to_csv(studies.curves))
        if studies.tasks:
            write_listed(folder / "curves_by_task.csv", to_csv(studies.by_task))
    figures = dict(figures_of(studies))
    save(folder / "figures", figures)
    parts = section(studies, figures)
    page = template("sensitivity.html.j2").render(
        name=f"{studies.config.name}, sensitivity",
        studies=parts,
        tasks=task_rows(studies.environment),
        environment=described(studies.environment),
        config=as_yaml(studies.config.raw),
    )
    write_text(folder / "report.html", page)
    return "\n".join(parts["summary"])


def section(studies: Studies, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Return the variables of ``_studies.html.j2``."""
    table, sensitivity = changes(studies), studies.config
    words = _FIGURES | {name: (_BY_TASK, caption) for name, caption in _by_task(studies)}
    return {
        "summary": summary(studies),
        "figures": [
            {"image": inline(figures[name], alt), "caption": caption}
            for name, (alt, caption) in words.items()
            if name in figures
        ],
        "changes": {"columns": list(table.columns), "rows": table.values.tolist()},
        "metric": studies.metric,
        "level": f"{(studies.curves['high'] - studies.curves['low']).mean() / 2:.3f}",
        "weight": f"{sensitivity.weight:g}",
        "sharing": f"{sensitivity.sharing:g}" if studies.tasks else "",
        "steps": studies.config.steps,
        "seeds": studies.config.seeds,
        "diverged": int((studies.results["error"] != "").sum()),
        "tuning": studies.tuning,
    }


def section_of(folder: RunFolder) -> dict[str, Any]:
    """Return the section on finished studies for the page of their run."""
    studies = read_studies(folder)
    return section(studies, dict(figures_of(studies)))
