"""Progress of a whole run: shares, the time that is left, and where it is shown."""

from __future__ import annotations

import logging
import os
import pickle
import pty
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from slat_search.cli.terminal import messages
from slat_search.records import Report
from slat_search.search.overall import RunProgress, TrialProgress
from slat_search.search.trial_log import Trial
from tests.whole import all_of


@dataclass
class Running:
    """A trial as Ray hands it to callbacks."""

    config: dict[str, Any]
    last_result: dict[str, Any] = field(default_factory=dict)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def report(step: int) -> Report:
    return Report(step=step, quality=0.5, quality_perturbed=0.5, retained=1, loss=1, params=9, atoms=9, seconds=1)


def test_the_share_is_that_of_the_work_of_all_stages() -> None:
    clock = Clock()
    progress = RunProgress({"search": 100, "trainings": 300, "test": 100}, clock)
    assert progress.share == 0
    assert progress.left is None
    clock.now = 20
    progress.note("search", "0", 50)
    assert progress.left == pytest.approx(20)
    assert "about 20 s left of the search (search 50%, trainings 0%, test 0%)" in progress.line()
    progress.note("search", "0", 100)
    assert progress.share == pytest.approx(0.2)
    clock.now = 25
    progress.note("trainings", "lora", 150)
    progress.note("trainings", "lora", 150)  # asked for again by every seed
    assert progress.share == pytest.approx(0.5)
    assert progress.left == pytest.approx(250 / 30)  # 30 steps a second, whatever the search had
    assert progress.line() == "50% of all steps after 25 s, about 8 s left (search 100%, trainings 50%, test 0%)"


def test_what_was_there_before_tells_nothing_of_the_pace() -> None:
    clock = Clock()
    progress = RunProgress({"trainings": 100}, clock)
    progress.note("trainings", "kept", 50, fresh=False)
    assert (progress.share, progress.left) == (0.5, None)
    clock.now = 10
    progress.note("trainings", "new", 25)
    assert progress.left == pytest.approx(10.0)


def test_a_stage_that_becomes_less_work_is_done_sooner() -> None:
    progress = RunProgress({"search": 100, "trainings": 100})
    progress.note("search", "0", 50)
    progress.expect("search", 50)
    assert progress.share == pytest.approx(1 / 3)
    progress.note("search", "0", 80)  # more than was expected
    assert progress.share == pytest.approx(1 / 3)


def test_trials_that_are_stopped_shorten_what_is_expected_of_others() -> None:
    progress = RunProgress({"search": 4 * 100, "trainings": 100})
    trials = TrialProgress(progress, 4)
    trials.on_trial_result(1, [], Running({"number": 0}), {"step": 30})
    assert progress.share == pytest.approx(30 / 500)
    trials.on_trial_complete(1, [], Running({"number": 0}, {"step": 30}))
    assert progress.share == pytest.approx(30 / (4 * 30 + 100))
    trials.on_trial_result(1, [], Running({"number": 1}), {"step": 100})
    trials.on_trial_complete(1, [], Running({"number": 1}, {"step": 100}))
    assert progress.share == pytest.approx(130 / (130 + 2 * 65 + 100))
    trials.on_trial_result(1, [], Running({"number": 2}), {"diverged": "loss is nan"})
    trials.on_trial_complete(1, [], Running({"number": 2}, {"diverged": "loss is nan"}))
    trials.close()
    assert progress.share == pytest.approx(130 / 230)
    assert isinstance(pickle.loads(pickle.dumps(trials)), TrialProgress)  # as Ray does with all callbacks


def test_trials_of_a_search_that_goes_on_are_done() -> None:
    progress = RunProgress({"search": 200})
    over = Trial(0, {}, "completed", (report(50), report(100)))
    left = Trial(1, {}, "running", (report(50),))
    TrialProgress(progress, 2).resume([over, left])
    assert progress.share == pytest.approx(0.75)
    assert progress.left is None


def test_without_a_terminal_a_line_is_logged_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, enough = [], threading.Event()

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())
            if len(seen) == 2:
                enough.set()

    monkeypatch.setenv("CI", "true")
    reader = Reader()
    with messages():
        logging.getLogger("slat_search").addHandler(reader)
        progress = RunProgress({"search": 4})
        with progress.shown(every=0.01):
            progress.note("search", "0", 1)
            assert enough.wait(60)
        count = len(seen)
        logging.getLogger("slat_search").removeHandler(reader)
    assert seen[-1].startswith("25% of all steps after ")
    assert len(seen) == count
    assert "progress" not in [thread.name for thread in threading.enumerate()]


def test_in_a_terminal_a_bar_stays_below_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, messages():
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("CI", raising=False)
        progress = RunProgress({"trainings": 2})
        with progress.shown(every=0.01), progress.bars():
            progress.note("trainings", "lora", 1)
            logging.getLogger("slat_search.comparison").info("train  lora")
    screen = all_of(ours)
    assert "train  lora\r\n" in screen
    assert "50% of all steps after" in screen
    assert screen.rindex("50% of all steps") > screen.index("train  lora")
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h")  # the cursor is there again
