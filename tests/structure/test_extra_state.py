"""The state of a supernet beside its weights: plain values as bytes, and what another supernet can take of it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch

from slat_search.errors import SlatError
from slat_search.structure.extra_state import pack, supernet_state, unpack

ATOMS = torch.tensor([0, 2, 5])


def state(standing: list[int], settled: bool = False, kind: str = "screening") -> dict[str, object]:
    return {"kind": kind, "standing": torch.tensor(standing), "settled": settled}


def test_bytes_hold_plain_values_and_tensors() -> None:
    packed = pack({"step": 7, "share": 0.25, "name": "core", "values": torch.tensor([[1.5, -2.0]]), "none": None})
    assert (packed.dtype, packed.dim()) == (torch.uint8, 1)
    values = unpack(packed)
    assert torch.equal(values.pop("values"), torch.tensor([[1.5, -2.0]]))
    assert values == {"step": 7, "share": 0.25, "name": "core", "none": None}


def test_bytes_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Gadget:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    file = io.BytesIO()
    torch.save({"kind": Gadget()}, file)
    packed = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        unpack(packed)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("standing", [[0, 2, 5], [2], []])
def test_atoms_that_still_stand_can_be_taken(standing: list[int]) -> None:
    values = supernet_state(pack(state(standing)), "screening", ATOMS, False)
    assert values["standing"].tolist() == standing


@pytest.mark.parametrize("standing", [[1], [0, 2, 5, 6], [0, 1]])
@pytest.mark.parametrize("settled", [False, True])
def test_atoms_that_have_left_cannot(standing: list[int], settled: bool) -> None:
    with pytest.raises(SlatError, match="candidates that have left this one; load it into a fresh one"):
        supernet_state(pack(state(standing, settled)), "screening", ATOMS, settled)


@pytest.mark.parametrize(("saved", "present", "accepted"), [(0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 0)])
def test_a_settled_search_takes_settled_states_alone(saved: int, present: int, accepted: int) -> None:
    packed = pack(state([2], bool(saved)))
    if accepted:
        assert supernet_state(packed, "screening", ATOMS, bool(present))["settled"] is bool(saved)
    else:
        with pytest.raises(SlatError, match="have left this one"):
            supernet_state(packed, "screening", ATOMS, bool(present))


def test_gates_of_another_kind_are_named() -> None:
    with pytest.raises(SlatError, match="gates of kind 'sigmoid', not 'screening'"):
        supernet_state(pack(state([2], kind="sigmoid")), "screening", ATOMS, False)


def test_plain_values_of_an_earlier_version_have_the_kind_of_the_supernet() -> None:
    earlier = {"standing": torch.tensor([5]), "settled": False}
    values = supernet_state(earlier, "saliency", ATOMS, False)
    assert (values["kind"], values["standing"].tolist()) == ("saliency", [5])
    with pytest.raises(SlatError, match="gates of kind 'sigmoid', not 'saliency'"):
        supernet_state({"kind": "sigmoid", **earlier}, "saliency", ATOMS, False)
