from __future__ import annotations

import os
from pathlib import Path

import pytest

from slat_search import SlatError
from slat_search.config import Resources
from slat_search.tuning import runtime
from slat_search.tuning.runtime import give_memory_back

TWO_NODES = [
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
    {"Alive": True, "Resources": {"CPU": 4.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


ONE_CPU_NODE = [{"Alive": True, "Resources": {"CPU": 4.0}}]


@pytest.mark.parametrize(
    ("nodes", "given", "expected"),
    [
        (TWO_NODES, {}, (2, 6, 1.0)),  # a GPU each
        (TWO_NODES, {"concurrent_trials": 1}, (1, 8, 1.0)),  # a trial cannot span nodes
        (TWO_NODES, {"concurrent_trials": 4}, (4, 3, 0.5)),
        (TWO_NODES, {"concurrent_trials": 3}, (3, 4, 0.5)),  # of two thirds only one would fit on a GPU
        (TWO_NODES, {"concurrent_trials": 100}, (100, 1, 0.02)),
        (TWO_NODES, {"trials_per_gpu": 3}, (6, 2, 1 / 3)),
        (TWO_NODES, {"trials_per_gpu": 0, "cpus_per_trial": 2}, (1, 2, 0.0)),
        (ONE_CPU_NODE, {}, (1, 4, 0.0)),
        (ONE_CPU_NODE, {"concurrent_trials": 2}, (2, 2, 0.0)),
        (ONE_CPU_NODE, {"concurrent_trials": 8, "trials_per_gpu": 2}, (8, 1, 0.5)),  # GPUs that are yet to come
    ],
)
def test_share_of_a_trial(
    monkeypatch: pytest.MonkeyPatch, nodes: list[dict], given: dict, expected: tuple[int, int, float]
) -> None:
    monkeypatch.setattr(runtime.ray, "nodes", lambda: nodes)
    share = runtime.share(Resources(**given))
    assert (share.concurrent, share.cpus, share.gpus) == expected


def test_no_cluster_there_is_one_sentence() -> None:
    with (
        pytest.raises(SlatError, match=r"--address: no Ray cluster answers at 127\.0\.0\.1:1"),
        runtime.ray_session("127.0.0.1:1"),
    ):
        pass


@pytest.mark.skipif(not Path("/lib64/ld-linux-x86-64.so.2").exists(), reason="another C library than GNU's")
def test_a_worker_gives_memory_back_between_trainings() -> None:
    """Half a gigabyte in small pieces, freed below one that stays: the C library keeps it all."""
    pieces = [b"x" * (64_000 + number) for number in range(8_000)]
    stays = b"x" * 64_000
    before = _resident()
    pieces.clear()
    give_memory_back()
    assert _resident() < before - 400 * 2**20
    assert stays


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
