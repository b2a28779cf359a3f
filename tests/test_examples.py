"""The examples run, from a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ELSEWHERE = {"export_and_reload"}  # tests/export/test_example.py
LARGE = {"label_words", "qlora"}  # of the embedded decoder, and of bitsandbytes
LONG = {"trainer", "sft_trainer"}  # tests/integrations say quickly that they work


def marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    """Return what an example's test is marked with."""
    return (pytest.mark.llm,) if name in LARGE else (pytest.mark.slow,) if name in LONG else ()


EXAMPLES = [
    pytest.param(path, marks=marks(path.stem))
    for path in sorted((ROOT / "examples").glob("*.py"))
    if path.stem not in ELSEWHERE
]
#: name -> what its last lines say, and what it leaves
ENDS = {
    "own_loop": (" parameters: spectral", "adapter.safetensors"),
    "trainer": ("1,000 parameters: ", "trainer-output/adapter.safetensors"),
    "sft_trainer": ("2000 parameters", "sft-output/adapter.safetensors"),
    "label_words": ("zero-shot", "label-words/report.html"),
    "qlora": ("4,000 parameters: ", "qlora-output/adapter.safetensors"),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(example), "12"]  # steps, of those that take it
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    message, left = ENDS[example.stem]
    assert message in done.stdout
    assert (tmp_path / left).is_file()
