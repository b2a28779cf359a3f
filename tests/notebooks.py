"""Run the notebook of the examples and keep what it shows: ``python -m tests.notebooks``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent.parent / "examples" / "first_search.ipynb"


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Run the cells in ``folder``; what they write to standard error is left out, and so is where the folder is.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            for kind, text in output.get("data", {}).items():
                output.data[kind] = text.replace(f"{folder}/", "") if isinstance(text, str) else text
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(NOTEBOOK, Path(folder).resolve()), NOTEBOOK)
    print(f"kept in {NOTEBOOK}", file=sys.stderr)


if __name__ == "__main__":
    main()
