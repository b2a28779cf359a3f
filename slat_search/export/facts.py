"""Facts on an adapter from its run: data and test quality with its interval; and the license of the base model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.repocard import metadata_load

from ..analysis.statistics import mean_interval
from ..analysis.table_files import read_csv
from ..records import Environment
from ..records.config import KeptConfig
from ..run_folder import RunFolder


@dataclass(frozen=True)
class TestQuality:
    """Quality on the test texts, the mean over seeds.

    Attributes:
        low, high: 95 % interval; nan if there is only one seed and nothing else to draw from.
        over: source of the variation in the interval: seeds, or test texts and seeds.
    """

    mean: float
    low: float
    high: float
    seeds: int
    over: str


@dataclass(frozen=True)
class RunFacts:
    """Facts on an adapter from its run.

    Attributes:
        task: name of the data.
        metric: metric of the quality.
        rows: split -> number of texts.
        test: quality on test; None if the run has not reached its test.
    """

    task: str
    metric: str
    rows: dict[str, int]
    test: TestQuality | None


def read_facts(adapter: Path) -> RunFacts | None:
    """Return the facts on an adapter from its run; None if it is in no run.

    Raises:
        SlatError: files of the run are damaged.
    """
    adapter = adapter.resolve()
    for label, task in ((adapter, ""), (adapter.parent, adapter.name)):
        run = label.parent.parent
        if label.parent.name == "adapters" and (run / "environment.json").is_file():
            return _run_facts(run, label.name, task)
    return None


def _run_facts(run: Path, label: str, task: str) -> RunFacts | None:
    tasks = {record.name: record for record in Environment.read(run / "environment.json").tasks}
    texts = tasks.get(task or next(iter(tasks)))
    if texts is None:
        return None
    metrics = {record.name: record.metric for record in KeptConfig.of(RunFolder(run)).tasks}
    rows = {split: getattr(texts, split) for split in ("train", "validation", "test")}
    test = _test_quality(run, label, texts.name, len(tasks) > 1)
    return RunFacts(texts.name, metrics.get(texts.name, "quality"), rows, test)


def _test_quality(run: Path, label: str, task: str, has_several_tasks: bool) -> TestQuality | None:
    if not (run / "results.csv").is_file():
        return None
    results = read_csv(run / "results.csv")
    rows = results[(results["method"] == label) & (results["task"] == task)]
    if rows.empty:
        return None
    seeds, mean = len(rows), float(rows["quality"].mean())
    if not has_several_tasks and (run / "robustness.csv").is_file():
        table = read_csv(run / "robustness.csv").set_index("method")
        if label in table.index:
            low, high = (float(table[f"quality_{bound}"][label]) for bound in ("low", "high"))
            return TestQuality(mean, low, high, seeds, "test texts and seeds")
    low, high = mean_interval(rows["quality"].to_numpy())
    return TestQuality(mean, low, high, seeds, "seeds")


def license_of(base: str) -> str | None:
    """Return the license in the README of a base model, if that is in its folder or the hub's cache; else None."""
    path = Path(base) / "README.md" if Path(base).is_dir() else try_to_load_from_cache(base, "README.md")
    if not isinstance(path, str | Path) or not Path(path).is_file():
        return None
    name = (metadata_load(path) or {}).get("license")
    return name if isinstance(name, str) else None
