"""Which checkpoint a search goes on from."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from slat_search import SlatError
from slat_search.search.checkpoints import (
    Storage,
    checkpoint_for,
    load_state,
    trial_name,
)


def write(folder: Path, experiment: int, number: int, step: int) -> Path:
    """A checkpoint as Ray leaves it."""
    place = folder / f"ray-{experiment}" / trial_name(number) / f"checkpoint_{step:06d}"
    place.mkdir(parents=True)
    with checkpoint_for(number, {"step": step, "weights": torch.arange(3)}) as checkpoint:
        assert checkpoint is not None
        raw = (Path(checkpoint.path) / "state.pt").read_bytes()
    path = place / "state.pt"
    path.write_bytes(raw)
    return path


def step(raw: bytes, number: int) -> int:
    state = load_state(number, raw)
    assert state is not None
    return state["step"]


def test_the_last_one_of_any_experiment_of_the_search(tmp_path: Path) -> None:
    for experiment, at in ((9, 45), (10, 90), (2, 20)):
        write(tmp_path, experiment, 3, at)
    storage = Storage(tmp_path)
    assert storage.experiments == 3
    result = storage.find([2, 3])
    assert list(result) == [3]  # trial 2 has none and begins anew
    assert step(result[3], 3) == 90


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"garbage" * 99])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    old, new = write(tmp_path, 1, 3, 45), write(tmp_path, 1, 3, 90)
    new.write_bytes(damage(new.read_bytes()))
    assert step(Storage(tmp_path).find([3])[3], 3) == 45
    old.write_bytes(damage(old.read_bytes()))
    assert Storage(tmp_path).find([3]) == {}


def test_that_of_another_trial_is_none(tmp_path: Path) -> None:
    assert load_state(4, write(tmp_path, 1, 3, 45).read_bytes()) is None


def test_forgotten(tmp_path: Path) -> None:
    kept, gone = write(tmp_path, 1, 2, 45), write(tmp_path, 1, 3, 45)
    write(tmp_path, 2, 3, 90)
    Storage(tmp_path).forget(3)
    assert Storage(tmp_path).find([2, 3]).keys() == {2}
    assert kept.is_file()
    assert not gone.parent.exists()


def test_two_searches_share_a_place_and_find_their_own(tmp_path: Path) -> None:
    place = tmp_path / "shared"
    one, two = Storage(tmp_path / "one", str(place)), Storage(tmp_path / "two", str(place))
    write(Path(one.uri), 1, 3, 45)
    assert two.find([3]) == {}
    assert Storage(tmp_path / "one", str(place)).find([3]).keys() == {3}  # when it is gone on with
    assert one.is_written_by_all()


@pytest.mark.parametrize("place", ["nowhere://bucket", "{file}/within"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SlatError, match="--storage: cannot write to"):
        Storage(tmp_path / "search", place.format(file=tmp_path / "file"))


def test_nothing_to_save() -> None:
    with checkpoint_for(0, None) as checkpoint:
        assert checkpoint is None


def test_those_of_trials_that_are_over_go_when_a_killed_search_goes_on(tmp_path: Path) -> None:
    kept = write(tmp_path, 1, 2, 45)
    over = [write(tmp_path, 1, 3, 45), write(tmp_path, 2, 4, 90)]
    (tmp_path / "ledger.jsonl").write_text("")
    Storage(tmp_path).keep_only([2, 7])
    assert kept.exists()
    assert not any(path.parent.exists() for path in over)


def test_a_flipped_bit_is_noticed_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 1, 3, 45)
    new = write(tmp_path, 1, 3, 90)
    raw, rng = new.read_bytes(), random.Random(0)
    for place in [*range(80), *rng.sample(range(80, len(raw)), 300)]:
        assert load_state(3, raw[:place] + bytes([raw[place] ^ 1 << rng.randrange(8)]) + raw[place + 1 :]) is None, (
            place
        )
    new.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert step(Storage(tmp_path).find([3])[3], 3) == 45
    assert f"{new}: damaged, and not used; trial 3 goes on from an earlier checkpoint, or begins anew" in caplog.text


def test_checkpoints_of_earlier_versions_have_no_digest(tmp_path: Path) -> None:
    raw = write(tmp_path, 1, 3, 45).read_bytes()
    assert step(raw.partition(b"\n")[2], 3) == 45
