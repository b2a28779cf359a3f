"""Facts of a run on an adapter: data, test quality with its interval, and the license of the base model."""

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
        low, high: 95 % interval; nan where there is but one seed and nothing else to draw from.
        over: what the interval is over.
    """

    mean: float
    low: float
    high: float
    seeds: int
    over: str


@dataclass(frozen=True)
class RunFacts:
    """Facts of a run on an adapter.

    Attributes:
        task: name of the data.
        metric: how quality is measured.
        rows: split -> number of texts.
        test: None where the run has not come to its test.
    """

    task: str
    metric: str
    rows: dict[str, int]
    test: TestQuality | None


def read_facts(adapter: Path) -> RunFacts | None:
    """Return the facts of an adapter's run; None if it is in no run.

    Raises:
        SlatError: files of the run are damaged.
    """
    adapter = adapter.resolve()
    for label, task in ((adapter, ""), (adapter.parent, adapter.name)):
        run = label.parent.parent
        if label.parent.name == "adapters" and (run / "environment.json").is_file():
            return _facts(run, label.name, task)
    return None


def _facts(run: Path, label: str, task: str) -> RunFacts | None:
    tasks = {known.name: known for known in Environment.read(run / "environment.json").tasks}
    facts = tasks.get(task or next(iter(tasks)))
    if facts is None:
        return None
    metrics = {known.name: known.metric for known in KeptConfig.of(RunFolder(run)).tasks}
    rows = {split: getattr(facts, split) for split in ("train", "validation", "test")}
    return RunFacts(facts.name, metrics.get(facts.name, "quality"), rows, _test(run, label, facts.name, len(tasks) > 1))


def _test(run: Path, label: str, task: str, several: bool) -> TestQuality | None:
    if not (run / "results.csv").is_file():
        return None
    results = read_csv(run / "results.csv")
    own = results[(results["method"] == label) & (results["task"] == task)]
    if own.empty:
        return None
    seeds, mean = len(own), float(own["quality"].mean())
    if not several and (run / "robustness.csv").is_file():
        table = read_csv(run / "robustness.csv").set_index("method")
        if label in table.index:
            low, high = (float(table[f"quality_{end}"][label]) for end in ("low", "high"))
            return TestQuality(mean, low, high, seeds, "test texts and seeds")
    low, high = mean_interval(own["quality"].to_numpy())
    return TestQuality(mean, low, high, seeds, "seeds")


def license_of(base: str) -> str | None:
    """Return the license that the README of a base model names, where that is at hand: in its folder or the hub's
    cache."""
    path = Path(base) / "README.md" if Path(base).is_dir() else try_to_load_from_cache(base, "README.md")
    if not isinstance(path, str | Path) or not Path(path).is_file():
        return None
    name = (metadata_load(path) or {}).get("license")
    return name if isinstance(name, str) else None
