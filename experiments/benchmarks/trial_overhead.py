"""What a trial costs beside its training: start of a cold and of a warm worker, and memory.

    python experiments/benchmarks/trial_overhead.py [--trials 8] [--steps 40] [--rounds 3]

Real searches on headlines, one trial after another and two at a time. A start counts from the end of the trial before
(for the first: from the call of the search) to the first step, by the trial's own clock. Memory is what a worker does
not share with others (USS); figures are medians over trials and rounds.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from slat_search.search.runtime import ray_session  # first: sets Ray's environment

import psutil  # isort: skip

from slat_search.config import Config
from slat_search.search.trial_log import Trial
from slat_search.search.tune import run_search
from slat_search.training.context import Context, prepare


def configuration(trials: int, steps: int, concurrent: int) -> Config:
    return Config.model_validate(
        {
            "task": {"name": "bbc-headline"},
            "training": {"steps": steps, "batch_size": 16},
            "search": {"trials": trials, "sampler": "sobol", "scheduler": {"name": "none", "rungs": [0.5]}},
            "resources": {"concurrent_trials": concurrent, "cpus_per_trial": 1},
        }
    )


class Watch(logging.Handler):
    """Notes when a search logged what, and how large its workers were then."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.perf_counter()
        self.said: list[tuple[float, str]] = []
        self.private: list[list[int]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((time.perf_counter() - self.began, record.getMessage()))
        workers = [p for p in psutil.Process().children(recursive=True) if "ray::ImplicitFunc" in " ".join(p.cmdline())]
        self.private.append([p.memory_full_info().uss for p in workers])

    def when(self, number: int, what: str) -> float:
        """Seconds from the beginning to the first line about a trial that has these words in it."""
        return next(at for at, line in self.said if line.startswith(f"trial {number:>2} ") and what in line)


def search(context: Context, config: Config) -> tuple[list[Trial], Watch, float]:
    """Trials, what was seen of them, and the seconds that all took; with a Ray of its own, whose workers are cold."""
    with ray_session(), tempfile.TemporaryDirectory() as folder:
        watch, log = Watch(), logging.getLogger("slat_search.search")
        log.addHandler(watch)
        log.setLevel(logging.INFO)
        trials = run_search(replace(context, config=config), Path(folder))
        log.removeHandler(watch)
        return trials, watch, time.perf_counter() - watch.began


def starts(trials: list[Trial], watch: Watch) -> list[float]:
    """Seconds without training before the first step of each trial, one after another."""
    collected, free = [], 0.0
    for trial in trials:
        first = watch.when(trial.number, "step") - trial.history[0].seconds
        collected.append(first - free)
        free = watch.when(trial.number, "finished")
    return collected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    one, two = (configuration(options.trials, options.steps, concurrent) for concurrent in (1, 2))
    context, _ = prepare(one)
    cold, warm, outside, alone, further = [], [], [], [], []
    for _ in range(options.rounds):
        trials, watch, wall = search(context, one)
        first, *later = starts(trials, watch)
        cold.append(first)
        warm += later
        outside.append(1 - sum(trial.measures.seconds for trial in trials) / (wall - first))
        alone.append(max(sum(sizes) for sizes in watch.private) / 2**20)
        _, watch, _ = search(context, two)
        further.append(max(sum(sizes) for sizes in watch.private) / 2**20 - alone[-1])
    rows: list[tuple[str, list[float], Callable[[float], str]]] = [
        ("start of the first trial, cold worker", cold, "{:.2f} s".format),
        ("start of a trial on a warm worker", warm, "{:.3f} s".format),
        ("share of time outside training after that", outside, "{:.1%}".format),
        ("memory of a worker of its own", alone, "{:.0f} MiB".format),
        ("memory of a further concurrent trial", further, "{:.0f} MiB".format),
    ]
    for name, values, shown in rows:
        print(f"{name:<44}{shown(statistics.median(values)):>12}  ({shown(min(values))} to {shown(max(values))})")


if __name__ == "__main__":
    main()
