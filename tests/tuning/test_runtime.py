from __future__ import annotations

import pytest

from slat_search import SlatError
from slat_search.config import Resources
from slat_search.tuning import runtime

TWO_NODES = [
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
    {"Alive": True, "Resources": {"CPU": 4.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(
    ("concurrent", "given", "expected"),
    [
        (1, {}, (8, 1.0)),  # a trial cannot span nodes
        (2, {}, (6, 1.0)),
        (4, {}, (3, 0.5)),
        (100, {}, (1, 0.02)),
        (4, {"cpus_per_trial": 2, "gpus_per_trial": 0.0}, (2, 0.0)),
    ],
)
def test_share_of_a_trial(
    monkeypatch: pytest.MonkeyPatch, concurrent: int, given: dict, expected: tuple[int, float]
) -> None:
    monkeypatch.setattr(runtime.ray, "nodes", lambda: TWO_NODES)
    share = runtime.per_trial(Resources(**given), concurrent)
    assert (share["CPU"], share["GPU"]) == expected


def test_no_cluster_there_is_one_sentence() -> None:
    with (
        pytest.raises(SlatError, match=r"--address: no Ray cluster answers at 127\.0\.0\.1:1"),
        runtime.ray_session("127.0.0.1:1"),
    ):
        pass
