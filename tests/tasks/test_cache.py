"""Tokens on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slat_search.models.backbone import Backbone, load_backbone
from slat_search.tasks import (
    Encoded,
    Example,
    cache,
    encode,
)
from tests.conftest import TEXTS

EXAMPLES = [Example((text,), i % 2) for i, text in enumerate(TEXTS)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLAT_CACHE", str(tmp_path))
    return tmp_path / "tokens"


class Counted:
    """A tokenizer that counts how often it is asked."""

    def __init__(self, tokenizer: object):
        self._tokenizer = tokenizer
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        return self._tokenizer(*args, **kwargs)


def same(one: Encoded, two: Encoded) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("ids", "offsets", "labels"))


def test_texts_are_tokenised_once_and_mapped(minilm: Backbone, place: Path) -> None:
    tokenizer = Counted(minilm.tokenizer)
    first = encode(tokenizer, EXAMPLES, 32)
    again = encode(tokenizer, [replace(e, label=1 - e.label) for e in EXAMPLES], 32)
    assert tokenizer.calls == 1
    assert np.array_equal(first.ids, again.ids)
    assert not np.array_equal(first.labels, again.labels)
    assert isinstance(again.ids.base, np.memmap)
    assert encode(Counted(load_backbone("minilm").tokenizer), EXAMPLES, 32).ids.tolist() == first.ids.tolist()
    assert len(list(place.iterdir())) == 1


def test_other_texts_lengths_and_sides_are_kept_apart(minilm: Backbone, place: Path) -> None:
    pairs = [Example((TEXTS[0], TEXTS[1]), 0)]
    sets = [(EXAMPLES, 32), (EXAMPLES, 8), (EXAMPLES[:2], 32), (pairs, 32), ([Example(("".join(TEXTS[:2]),), 0)], 32)]
    for examples, length in sets:
        encode(minilm.tokenizer, examples, length)
    assert len(list(place.iterdir())) == len(sets)
    assert encode(minilm.tokenizer, EXAMPLES, 8).lengths.max() == 8
    assert encode(minilm.tokenizer, pairs, 32).types is not None
    assert cache.digest(["ab", "c"]) != cache.digest(["a", "bc"]) != cache.digest(["a"], ["bc"])


def test_damaged_tokens_are_made_anew(minilm: Backbone, place: Path) -> None:
    first = encode(minilm.tokenizer, EXAMPLES, 32)
    (kept,) = place.iterdir()
    (kept / "ids.npy").unlink()  # what is mapped stays as it is
    (kept / "ids.npy").write_bytes(b"torn")
    assert same(encode(minilm.tokenizer, EXAMPLES, 32), first)
    assert same(encode(minilm.tokenizer, EXAMPLES, 32), first)


def test_a_full_disk_costs_a_warning_and_leaves_nothing(
    minilm: Backbone, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, array: np.ndarray) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.warns(UserWarning, match="tokens are not kept in .*: No space left on device"):
        encoded = encode(minilm.tokenizer, EXAMPLES, 32)
    assert len(encoded) == 3
    assert list(place.iterdir()) == []
