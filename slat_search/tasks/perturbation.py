"""Perturbed input for evaluation: the text changes, the label does not.

``ratio`` is the share of words that are touched: ``floor(ratio * words + u)`` of them with one uniform ``u`` a text, so
that short texts are touched with the right probability. Every function is a pure function of text and seed, and never
empties a text. Where TextAttack (Morris et al. 2020, arXiv 2005.05909) or TextFlint (Gui et al. 2021, arXiv 2103.11441)
has the like, the function says how it differs; both look for the worst change, these draw one.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable
from dataclasses import replace

from .examples import Example

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
# Latin letters and what looks like them in Cyrillic.
_ALIKE = dict(zip("aceijopsxyABCEHIJKMOPSTXY", "асеіјорѕхуАВСЕНІЈКМОРЅТХУ", strict=True))
_MARKS = ",.;:!?-"
_CLAUSE = ("and", "true", "is", "true")

Words = list[str]


def keyboard(word: str, rng: random.Random) -> str:
    """One letter becomes its neighbour on a QWERTY keyboard; TextAttack ``WordSwapQWERTY``, TextFlint ``Keyboard``."""
    places = [i for i, char in enumerate(word) if char.lower() in _NEAR]
    if not places:
        return word
    place = rng.choice(places)
    new = rng.choice(_NEAR[word[place].lower()])
    return word[:place] + (new.upper() if word[place].isupper() else new) + word[place + 1 :]


def char_swap(word: str, rng: random.Random) -> str:
    """Two neighbouring characters change places; TextAttack ``WordSwapNeighboringCharacterSwap``."""
    if len(word) < 2:
        return word
    place = rng.randrange(len(word) - 1)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def char_drop(word: str, rng: random.Random) -> str:
    """One character is missing, never the only one; TextAttack ``WordSwapRandomCharacterDeletion``."""
    if len(word) < 2:
        return word
    place = rng.randrange(len(word))
    return word[:place] + word[place + 1 :]


def char_insert(word: str, rng: random.Random) -> str:
    """One random lower-case letter too many; TextAttack ``WordSwapRandomCharacterInsertion``."""
    place = rng.randrange(len(word) + 1)
    return word[:place] + rng.choice(string.ascii_lowercase) + word[place:]


def _double(word: str, rng: random.Random) -> str:
    place = rng.randrange(len(word))
    return word[:place] + word[place] + word[place:]


def typo(word: str, rng: random.Random) -> str:
    """One slip of the fingers: neighbouring key, swapped, missing or doubled character, with the same chance.

    TextFlint's ``Typos`` swaps, deletes, inserts or replaces by any letter, and spares first and last letters.
    """
    return rng.choice((keyboard, char_swap, char_drop, _double))(word, rng)


def homoglyph(word: str, rng: random.Random) -> str:
    """One letter becomes a Cyrillic one that looks the same; TextAttack ``WordSwapHomoglyphSwap``."""
    places = [i for i, char in enumerate(word) if char in _ALIKE]
    if not places:
        return word
    place = rng.choice(places)
    return word[:place] + _ALIKE[word[place]] + word[place + 1 :]


def punctuation(word: str, rng: random.Random) -> str:
    """A word loses the mark at its end, or gets one; TextFlint's ``Punctuation`` frames the whole text in marks."""
    bare = word.rstrip(_MARKS)
    return bare if bare and bare != word else word + rng.choice(_MARKS)


def case(word: str, rng: random.Random) -> str:
    """Upper case becomes lower and the reverse; TextFlint's ``WordCase`` does one case for the whole text."""
    return word.swapcase()


def whitespace(word: str, rng: random.Random) -> str:
    """A space within a word; neither TextAttack nor TextFlint has it."""
    if len(word) < 2:
        return word
    place = rng.randrange(1, len(word))
    return f"{word[:place]} {word[place:]}"


def word_drop(words: Words, touched: list[int], rng: random.Random) -> Words:
    """Words are missing, never all; TextAttack ``WordDeletion``."""
    dropped = set(touched)
    return [w for i, w in enumerate(words) if i not in dropped] or words


def word_swap(words: Words, touched: list[int], rng: random.Random) -> Words:
    """A word and the next change places; TextAttack's ``WordInnerSwapRandom`` takes any two."""
    swapped = list(words)
    for i in touched:
        j = i + 1 if i + 1 < len(words) else i - 1
        if j >= 0:
            swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def word_duplicate(words: Words, touched: list[int], rng: random.Random) -> Words:
    """Repeat a word; neither TextAttack nor TextFlint has it."""
    doubled = set(touched)
    return [w for i, w in enumerate(words) for _ in range(2 if i in doubled else 1)]


def distraction(words: Words, touched: list[int], rng: random.Random) -> Words:
    """*and true is true* at the end, as often as makes ``ratio`` the share of added words on average.

    The word-overlap stress test of Naik et al. 2018 (arXiv 1806.00692), which adds it five times; TextFlint's
    ``AppendIrr`` adds a sentence of another text.
    """
    return words + list(_CLAUSE) * int(len(touched) / len(_CLAUSE) + rng.random())


def _each(change: Callable[[str, random.Random], str]) -> Callable[[Words, list[int], random.Random], Words]:
    def changed(words: Words, touched: list[int], rng: random.Random) -> Words:
        chosen = set(touched)  # constant-time lookup
        return [change(w, rng) if i in chosen else w for i, w in enumerate(words)]

    return changed


#: kind -> words, numbers of the touched ones, generator -> new words
PERTURBATIONS: dict[str, Callable[[Words, list[int], random.Random], Words]] = {
    "typos": _each(typo),
    "keyboard": _each(keyboard),
    "char_swap": _each(char_swap),
    "char_drop": _each(char_drop),
    "char_insert": _each(char_insert),
    "homoglyph": _each(homoglyph),
    "punctuation": _each(punctuation),
    "case": _each(case),
    "whitespace": _each(whitespace),
    "word_drop": word_drop,
    "word_swap": word_swap,
    "word_duplicate": word_duplicate,
    "distraction": distraction,
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
    """Perturb each text (both sides of a pair, of a chat what the user says); labels and responses stay."""

    def changed(example: Example) -> Example:
        roles = example.roles or ("user",) * len(example.texts)
        texts = (
            perturb_text(t, kind, ratio, seed) if r == "user" else t for t, r in zip(example.texts, roles, strict=True)
        )
        return replace(example, texts=tuple(texts))

    return [changed(example) for example in examples]
