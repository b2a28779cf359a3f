"""Head of a page: date, task, model, cost and next steps."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import pandas as pd

from ..records import SavedAdapter, TrainingJob
from ..run_folder import RunFolder
from ..structure.kinds import KINDS
from .data import RunData
from .formats import duration, in_bytes

#: methods with bottlenecks, or with more than peft adds to a model
_NOT_IN_PEFT = ("houlsby", "pfeiffer", "parallel", "random", "unipelt", "prefix", "full")


def facts(chosen: pd.Series | None, data: RunData, budget: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield what is known of a run and of the method that it recommends, as pairs of a term and a text."""
    environment = data.environment
    if environment.date:
        yield "Date", environment.date
    yield ("Tasks" if data.several else "Task"), ", ".join(data.tasks)
    yield "Model", f"{environment.model.name}, {environment.model.params:,} parameters"
    if len(budget):
        yield "Time of all trainings", duration(budget["seconds"].sum())
    if chosen is None:
        return
    rows = data.results[data.results["method"] == chosen["method"]]
    if (memory := rows["memory"].max()) > 0:
        yield "Peak memory of its training", f"{in_bytes(memory)} beyond model and data"
    if (batched := rows["seconds_per_text"].mean()) > 0:
        one = rows["seconds_of_one"].astype(float).mean()
        alone = "" if pd.isna(one) else f"{1000 * one:.1f} ms a single text, "
        yield "Latency", f"{alone}{1000 * batched:.1f} ms a text in batches"


def next_steps(run: RunFolder, chosen: pd.Series | None, data: RunData) -> Iterator[tuple[str, str]]:
    """Yield what can be done with the recommended adapter, and the command; nothing where no adapter is kept."""
    folder = run / "adapters" / ("" if chosen is None else chosen["method"])
    if chosen is None or not (run / "adapters" / "best.json").is_file() or not folder.is_dir():
        return
    path, task = _shortest(run), data.tasks[0]
    described = next(
        (path for path in (folder / "adapter.json", folder / task / "adapter.json") if path.is_file()), None
    )
    saved = None if described is None else SavedAdapter.read(described)
    pair = saved is not None and len(next(iter(saved.tasks.values())).columns) > 1
    which = f" --task {shlex.quote(task)}" if data.several else ""
    texts = '--text "TEXT" --text-pair "OTHER TEXT"' if pair else '--text "TEXT"'
    yield "Label a text", f"slat predict {shlex.quote(path)}{which} {texts}"
    if chosen["params"] and (saved is None or _peft_holds(saved.job)):
        yield "Export for peft alone", f"slat export {shlex.quote(path)}{which} --out adapter --format peft"
    given = '[("TEXT", "OTHER TEXT")]' if pair else '["TEXT"]'
    call = f"({given}, {task!r})" if data.several else f"({given})"
    yield "From Python", f"import slat_search; slat_search.load({path!r}){call}"


def _peft_holds(job: TrainingJob) -> bool:
    """Whether an adapter of peft can hold what was trained."""
    if job.method != "slat":
        return job.method not in _NOT_IN_PEFT
    kinds = {module["kind"] for module in job.options["structure"]["modules"]}
    return all(kind in KINDS and KINDS[kind].in_peft for kind in kinds)


def _shortest(run: RunFolder) -> str:
    """Return the path of a run from here, where it lies below."""
    path = os.path.relpath(run.root)
    return str(run.root) if path.startswith("..") else path
