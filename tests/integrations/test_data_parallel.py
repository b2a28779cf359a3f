"""Two processes find what one finds in batches of twice the size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slat_search import Structure
from tests.integrations.loops import ROWS, arguments, classifier, in_trainer, language_model, steady, supernet_on

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("make", "kind", "passes"),
    [
        ("language_model", "screening", 2),
        pytest.param("classifier", "screening", 1, marks=pytest.mark.slow),
        pytest.param("language_model", "saliency", 1, marks=pytest.mark.slow),
        pytest.param("language_model", "sigmoid", 1, marks=pytest.mark.slow),
    ],
)
def test_two_processes_do_as_one(make: str, kind: str, passes: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = ["-m", "tests.integrations.data_parallel", str(tmp_path), make, kind, str(passes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first[3] == 2
    assert first[0] == second[0]
    assert first[1].keys() == second[1].keys()
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])

    model = classifier() if make == "classifier" else language_model()
    supernet = supernet_on(model.model if make == "classifier" else model, kind)
    plan, optimizer = steady(kind)
    args = arguments(tmp_path, passes, per_device_train_batch_size=2 * ROWS, **optimizer)
    alone, _ = in_trainer(model, supernet, plan, args)
    assert Structure.from_json(first[0]) == alone.structure
    for name, weight in alone.weights.items():
        torch.testing.assert_close(first[1][name], weight, atol=1e-4, rtol=1e-4)
