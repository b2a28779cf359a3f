from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slat_search.tasks import PERTURBATIONS, Example, perturb, perturb_text
from slat_search.tasks.bbc import articles

TEXT = "Shares in the airline rose after it said that fuel costs would fall this winter"
kinds = st.sampled_from(sorted(PERTURBATIONS))
words = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=12)
texts = st.lists(words, min_size=1, max_size=20).map(" ".join)


@given(texts, kinds, st.floats(0, 1), st.integers(0, 5))
def test_never_empty_and_a_function_of_its_arguments(text: str, kind: str, ratio: float, seed: int) -> None:
    perturbed = perturb_text(text, kind, ratio, seed)
    assert perturbed.strip()
    assert perturbed == perturb_text(text, kind, ratio, seed)


@given(texts, kinds)
def test_ratio_zero_changes_nothing(text: str, kind: str) -> None:
    assert perturb_text(text, kind, 0.0, 0) == text


@given(texts, st.integers(0, 5))
def test_swap_keeps_the_words(text: str, seed: int) -> None:
    assert sorted(perturb_text(text, "word_swap", 0.5, seed).split()) == sorted(text.split())


@pytest.mark.parametrize("ratio", [0.05, 0.1, 0.2])
def test_ratio_is_the_share_of_words_on_average(ratio: float) -> None:
    headlines = [a.headline for a in articles()]
    dropped = [len(h.split()) - len(perturb_text(h, "word_drop", ratio, 0).split()) for h in headlines]
    assert sum(dropped) / sum(len(h.split()) for h in headlines) == pytest.approx(ratio, rel=0.1)


def test_typo_touches_single_words() -> None:
    perturbed = perturb_text(TEXT, "typos", 0.2, 1).split()
    different = [(a, b) for a, b in zip(TEXT.split(), perturbed, strict=True) if a != b]
    assert 1 <= len(different) <= 4
    assert all(abs(len(a) - len(b)) <= 1 for a, b in different)


def test_labels_stay_and_both_sides_are_perturbed() -> None:
    pair = Example((TEXT, TEXT.lower()), 3)
    (perturbed,) = perturb([pair], "typos", 0.5, 0)
    assert perturbed.label == 3
    assert perturbed.texts[0] != pair.texts[0]
    assert perturbed.texts[1] != pair.texts[1]


def test_same_text_in_another_process() -> None:
    code = f"from slat_search.tasks import perturb_text; print(perturb_text({TEXT!r}, 'typos', 0.3, 7))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == perturb_text(TEXT, "typos", 0.3, 7)
