"""The notebook of the examples runs, and what it shows is of a whole run of its own cells."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from tests.notebooks import NOTEBOOK, executed


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What its cells show as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


def test_what_is_kept_was_run_in_order_and_names_no_folder_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    texts = shown(notebook)
    assert len(texts) == len(code) - 1  # the first runs, and shows nothing
    assert not any("Error" in text or " /" in text or "'/" in text for text in texts)
    assert "RunResult('runs/first-search'): Use " in texts[0]


@pytest.mark.slow
def test_it_runs_and_shows_the_same_kinds_of_things(tmp_path: Path) -> None:
    kept, again = nbformat.read(NOTEBOOK, as_version=4), executed(NOTEBOOK, tmp_path)
    for old, new in zip(kept.cells, again.cells, strict=True):
        assert [sorted(o.get("data", {})) for o in old.get("outputs", [])] == [
            sorted(o.get("data", {})) for o in new.get("outputs", [])
        ]
    assert shown(again)[-1].startswith("slat-")
