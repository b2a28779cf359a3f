"""The studies in a report: a page of their own, or a section of the run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...files import write_listed, write_text
from ...run_folder import RunFolder
from ..drawing import in_rows, on_page, save
from ..formats import to_csv
from ..page import (
    as_yaml,
    described,
    task_rows,
    template,
)
from .data import Studies, read_studies
from .figures import Plots, figures_of
from .words import changes, summary

#: figure -> text alternative and caption
_FIGURES = {
    "sparsity": (
        "over the sparsity weight, a line a method; level lines are the baselines",
        "The sparsity weight. Solid: the search. Dashed: baselines, which have none.",
    ),
    "sharing": (
        "over the weight of sharing, a line a method; level lines are the baselines",
        "The weight of sharing: what a further user of the same part of the pool pays. Dashed: baselines.",
    ),
    "noise": (
        "over the ratio of noise in training, a line a method",
        "Noise in training. Every point is trained anew.",
    ),
    "perturbation": (
        "over the share of perturbed words, a line a method",
        "Perturbed text, for methods that were trained without noise.",
    ),
    "importance": (
        "share of the variance that each setting of the search accounts for",
        "What mattered among the settings that a search samples (fANOVA on trials all over the space, none stopped). "
        "Dotted: the most that a random number gets; grey bars do not rise above it. Lines: 5 to 95 % of draws.",
    ),
}


_BY_TASK = "over the ratio, a line a method"


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
    plots = dict(figures_of(studies))
    save(folder / "figures", {name: in_rows(its.panels, its.left, its.right)[0] for name, its in plots.items()})
    parts = section(studies, plots)
    page = template("sensitivity.html.j2").render(
        name=f"{studies.config.name}, sensitivity",
        studies=parts,
        tasks=task_rows(studies.environment),
        environment=described(studies.environment),
        config=as_yaml(studies.config.raw),
    )
    write_text(folder / "report.html", page)
    return "\n".join(parts["summary"])


def section(studies: Studies, plots: Mapping[str, Plots]) -> dict[str, Any]:
    """Return the variables of ``_studies.html.j2``."""
    table, sensitivity = changes(studies), studies.config
    words = _FIGURES | {name: (_BY_TASK, caption) for name, caption in _by_task(studies)}
    return {
        "summary": summary(studies),
        "figures": [
            {"plots": on_page(its.panels, "curves", alt, its.left, its.right), "caption": caption}
            for name, (alt, caption) in words.items()
            if (its := plots.get(name)) is not None
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
