"""The example of an export runs, and what is loaded again says the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "export_and_reload.py"


def test_the_example_reloads_what_it_trained(capsys: pytest.CaptureFixture[str]) -> None:
    apart = runpy.run_path(str(EXAMPLE))["main"]()
    assert apart < 1e-5
    printed = capsys.readouterr().out
    assert re.search(r"^sport +(0\.[5-9]\d+) trained, \1 reloaded", printed, re.MULTILINE)
    assert re.search(r"^business +(0\.[5-9]\d+) trained, \1 reloaded", printed, re.MULTILINE)
