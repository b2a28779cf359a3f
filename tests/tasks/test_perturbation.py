from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slat_search.tasks import (
    PERTURBATIONS,
    Example,
    perturb,
    perturb_text,
)
from slat_search.tasks.bbc import articles
from slat_search.tasks.perturbation import (
    case,
    char_drop,
    char_insert,
    char_swap,
    homoglyph,
    keyboard,
)

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


IN_WORDS = ("typos", "keyboard", "char_swap", "char_drop", "char_insert", "homoglyph", "punctuation", "case")


@pytest.mark.parametrize("kind", IN_WORDS)
def test_changes_within_words_touch_as_many_words_as_the_ratio_says(kind: str) -> None:
    perturbed = perturb_text(TEXT, kind, 0.2, 1).split()
    different = [(a, b) for a, b in zip(TEXT.split(), perturbed, strict=True) if a != b]
    assert 1 <= len(different) <= 4
    assert all(abs(len(a) - len(b)) <= 1 for a, b in different)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_every_kind_changes_real_text(kind: str) -> None:
    headlines = [a.headline for a in articles()[:200]]
    changed = [perturb_text(h, kind, 0.5, 0) != h for h in headlines]
    assert sum(changed) > (30 if kind == "distraction" else 150)


@given(texts, st.integers(0, 5))
def test_what_is_added_is_added_and_what_is_split_is_split(text: str, seed: int) -> None:
    words = text.split()
    twice = perturb_text(text, "word_duplicate", 0.5, seed).split()
    assert [w for i, w in enumerate(twice) if not i or w != twice[i - 1]] == [
        w for i, w in enumerate(words) if not i or w != words[i - 1]
    ]
    assert perturb_text(text, "whitespace", 1.0, seed).replace(" ", "") == text.replace(" ", "")
    distracted = perturb_text(text, "distraction", 0.5, seed).split()
    assert distracted[: len(words)] == words
    assert distracted[len(words) :] == ["and", "true", "is", "true"] * ((len(distracted) - len(words)) // 4)


@given(words, st.integers(0, 50))
def test_single_changes(word: str, seed: int) -> None:
    rng = random.Random(seed)
    assert len(char_drop(word, rng)) == max(1, len(word) - 1)
    assert sorted(char_swap(word, rng)) == sorted(word)
    inserted = char_insert(word, rng)
    assert any(inserted[:i] + inserted[i + 1 :] == word for i in range(len(inserted)))
    slipped = keyboard(word, rng)
    assert sum(a != b for a, b in zip(word, slipped, strict=True)) == any(
        c.lower() in "qwertyuiopasdfghjklzxcvbnm" for c in word
    )
    assert case(case("Word", rng), rng) == "Word"


def test_homoglyphs_look_alike_and_are_other_characters() -> None:
    changed = homoglyph("oxygen", random.Random(0))
    assert changed != "oxygen"
    assert len(changed) == 6
    assert sum(not c.isascii() for c in changed) == 1
    assert homoglyph("1999", random.Random(0)) == "1999"


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
