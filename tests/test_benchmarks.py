"""Benchmarks are commands that anyone can run: at least they start and say what they take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "experiments" / "benchmarks"
COMMANDS = sorted(path.name for path in BENCHMARKS.glob("*.py") if "argparse" in path.read_text())
# all in one process, as their imports take seconds
SCRIPT = """
import contextlib, io, runpy, sys
for name in sys.argv[1:]:
    sys.argv = [name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        runpy.run_path(name, run_name="__main__")
    print(name, said.getvalue().split()[:2])
"""


def test_every_benchmark_starts() -> None:
    command = [sys.executable, "-c", SCRIPT, *COMMANDS]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} ['usage:', '{name}']" for name in COMMANDS]
    assert len(COMMANDS) >= 4
