"""Fixtures of the analysis."""

from __future__ import annotations

from pathlib import Path

import pytest

from slat_search.run_folder import RunFolder
from tests.analysis.made import made_run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)
