"""Perturbed input for evaluation: the text changes, the label does not.

``ratio`` is the share of words that are touched: ``floor(ratio * words + u)`` of them with one uniform
``u`` a text, so that short texts are touched with the right probability. Every function is a pure function
of text and seed, and never empties a text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from .sources import Example

# Neighbours on a QWERTY keyboard.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEAR: dict[str, str] = {}
for _r, _row in enumerate(_ROWS):
    for _i, _key in enumerate(_row):
        _NEAR[_key] = "".join(
            other[j]
            for other, j in (
                (_row, _i - 1),
                (_row, _i + 1),
                *((_ROWS[s], _i + d) for s in (_r - 1, _r + 1) if 0 <= s < 3 for d in (0, -1 if s > _r else 1)),
            )
            if 0 <= j < len(other)
        )


def _typo(word: str, rng: random.Random) -> str:
    """One slip of the fingers: neighbouring key, swapped, missing or doubled character."""
    place = rng.randrange(len(word))
    slip = rng.choice(("near", "swap", "miss", "double") if len(word) > 1 else ("near", "double"))
    char = word[place]
    if slip == "near":
        near = _NEAR.get(char.lower())
        if near is None:
            return word[:place] + char + word[place:]
        new = rng.choice(near)
        return word[:place] + (new.upper() if char.isupper() else new) + word[place + 1 :]
    if slip == "swap":
        place = min(place, len(word) - 2)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    if slip == "miss":
        return word[:place] + word[place + 1 :]
    return word[:place] + char + word[place:]


def _typos(words: list[str], touched: list[int], rng: random.Random) -> list[str]:
    return [_typo(w, rng) if i in touched else w for i, w in enumerate(words)]


def _word_drop(words: list[str], touched: list[int], rng: random.Random) -> list[str]:
    return [w for i, w in enumerate(words) if i not in touched] or words


def _word_swap(words: list[str], touched: list[int], rng: random.Random) -> list[str]:
    swapped = list(words)
    for i in touched:
        j = i + 1 if i + 1 < len(words) else i - 1
        if j >= 0:
            swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def _case(words: list[str], touched: list[int], rng: random.Random) -> list[str]:
    return [w.swapcase() if i in touched else w for i, w in enumerate(words)]


PERTURBATIONS: dict[str, Callable[[list[str], list[int], random.Random], list[str]]] = {
    "typos": _typos,
    "word_drop": _word_drop,
    "word_swap": _word_swap,
    "case": _case,
}


def perturb_text(text: str, kind: str, ratio: float, seed: int | str) -> str:
    """``text`` with about ``ratio`` of its words touched; the same arguments give the same text."""
    words = text.split()
    rng = random.Random(f"{seed}|{kind}|{ratio}|{text}")
    count = min(len(words), int(ratio * len(words) + rng.random()))
    if count == 0:
        return text
    touched = sorted(rng.sample(range(len(words)), count))
    return " ".join(PERTURBATIONS[kind](words, touched, rng))


def perturb(examples: Iterable[Example], kind: str, ratio: float, seed: int) -> list[Example]:
    """Perturb each text (both sides of a pair); labels stay."""
    return [Example(tuple(perturb_text(t, kind, ratio, seed) for t in e.texts), e.label) for e in examples]
