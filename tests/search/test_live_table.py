"""The table of a running search, and where reports go."""

from __future__ import annotations

import io
import logging
import os
import pickle
import pty
import select
import signal
import struct
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from slat_search import SlatError
from slat_search.cli.terminal import messages
from slat_search.config import Config
from slat_search.records import Report
from slat_search.search.live_table import LiveTable, overview, table
from slat_search.search.overall import RunProgress, is_watched
from slat_search.search.trackers import trackers
from slat_search.search.trial_log import Trial, TrialLog
from slat_search.structure import Site, Structure
from tests.whole import all_of, start

SITE = Site(0, "layer.0.q", "q", 8, 8)


def trial(number: int, status: str, step: int = 0, quality: float = 0.0, params: int = 0) -> Trial:
    measures = {"quality": quality, "quality_perturbed": 0.9 * quality, "retained": 0.9, "loss": 1.0}
    report = Report(**measures, step=step, params=params, atoms=1, seconds=0.0)
    return Trial(number, {}, status, (report,) if step else (), Structure.lora((SITE,), 1) if step else None)


TRIALS = [
    trial(0, "completed", 100, 0.9, 4000),
    trial(1, "completed", 100, 0.8, 1000),
    trial(2, "stopped", 30, 0.7, 2000),
    trial(3, "diverged"),
    trial(4, "running", 60, 0.85, 2000),
    trial(5, "running"),
]


def test_what_there_is_and_what_is_left() -> None:
    result = overview(TRIALS, total=10, elapsed=60.0, before=1)
    assert [t.number for t in result.front] == [0, 4, 1]  # 2 is worse than 1 and larger
    assert [t.number for t in result.running] == [4, 5]
    assert result.counts == {"completed": 2, "stopped": 1, "diverged": 1, "running": 2}
    assert result.left == pytest.approx(6 * 60 / 3)  # three ended in a minute, six are left
    assert overview(TRIALS[4:], 10, 60.0, 0).left is None


def test_the_table_reads_well() -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=100)
    console.print(table(overview(TRIALS, 10, 60.0, 1), 10, 100))
    title, header, *rows = [line.split() for line in printed.getvalue().splitlines()]
    assert " ".join(title) == ("10 trials: 2 completed, 1 diverged, 2 running, 1 stopped; front of 3, about 2 min left")
    assert header == ["trial", "step", "parameters", "quality", "retained"]
    assert rows[0] == ["0", "front", "100/100", "4,000", "0.900", "90.0%"]
    assert [row[:2] for row in rows] == [["0", "front"], ["4", "front"], ["1", "front"], ["5", "runs"]]


def test_a_terminal_gets_it_and_a_ci_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("CI", raising=False)
    assert not is_watched()  # a library without a log that is read
    with messages():
        assert is_watched()
        monkeypatch.setenv("CI", "true")
        assert not is_watched()


def test_lines_of_progress_pass_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal that knows no cursor they would stand in its middle."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, messages():
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        live = LiveTable(TrialLog(tmp_path / "ledger.jsonl"), 3, 10, RunProgress({}))
        live.on_step_begin(1, [])
        logging.getLogger("slat_search.search.progress").info("trial  0 of 3  finished")
        live.close()
    screen = all_of(ours)
    first, last = screen.index("3 trials: none yet"), screen.rindex("3 trials: none yet")
    assert first < screen.index("trial  0 of 3  finished\r\n") < last
    assert "\x1b[1A" in screen[first:last]  # up over the table, which is drawn anew


@pytest.mark.slow
def test_a_run_on_a_terminal_and_ctrl_c(config: Path, tmp_path: Path) -> None:
    """A real run, its output on a pseudo-terminal; left when the table has shown a report."""
    ours, theirs = pty.openpty()
    process = start(config, tmp_path / "run", output=theirs, TERM="xterm", COLUMNS="120", CI="")
    os.close(theirs)
    screen, interrupted, deadline = "", False, time.monotonic() + 100
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.5)[0]:
            try:
                screen += os.read(ours, 4096).decode(errors="replace")
            except OSError:  # nobody is left on the other side
                break
        elif process.poll() is not None:
            break
        if "front of 1" in screen and not interrupted:
            process.send_signal(signal.SIGINT)
            interrupted = True
    os.close(ours)
    assert process.wait(timeout=10) == 130, screen
    assert "4 trials: 1 running; front of 1" in screen
    assert "continue with --resume" in screen
    assert "Traceback" not in screen
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h")  # the cursor is there again


def test_ray_pickles_callbacks(tmp_path: Path) -> None:
    """A tuner does so with all of them before anything runs; the lock of a terminal cannot be."""
    assert isinstance(
        pickle.loads(pickle.dumps(LiveTable(TrialLog(tmp_path / "ledger.jsonl"), 3, 10, RunProgress({})))), LiveTable
    )


def test_an_empty_search_is_closed_as_well(tmp_path: Path) -> None:
    live = LiveTable(TrialLog(tmp_path / "ledger.jsonl"), 3, 10, RunProgress({}))
    live.close()
    live.on_step_begin(1, [])
    live.close()


def test_a_tracker_that_is_not_installed_is_one_sentence() -> None:
    with pytest.raises(
        SlatError, match=r"search\.trackers: wandb needs a package that is not installed: pip install wandb"
    ):
        trackers(Config(search={"trackers": ["wandb"]}))


def events(path: Path) -> list[Event]:
    """Records of a TensorBoard file: length (8 bytes), checksum (4), an event, checksum (4)."""
    raw, result = path.read_bytes(), []
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        result.append(Event.FromString(raw[12 : 12 + length]))
        raw = raw[16 + length :]
    return result


def test_tensorboard_gets_every_report(run: tuple[Path, str]) -> None:
    (path,) = run[0].glob("search/ray-1/trial-0000/events.out.tfevents.*")
    qualities = [v.simple_value for e in events(path) for v in e.summary.value if v.tag == "ray/tune/quality"]
    history = next(t.history for t in TrialLog(run[0] / "search" / "ledger.jsonl").trials if t.number == 0)
    assert qualities == pytest.approx([report.quality for report in history], abs=1e-6)
