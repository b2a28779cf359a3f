"""Perturbed input for evaluation: the text changes, the label does not.

``ratio`` is the share of perturbed words: ``floor(ratio * words + u)`` of them with one uniform ``u`` per text, so that
short texts are perturbed with the right probability. Every function is a pure function of text and seed, and never
empties a text. Where TextAttack (Morris et al. 2020, arXiv 2005.05909) or TextFlint (Gui et al. 2021, arXiv 2103.11441)
has a similar perturbation, the docstring says how it differs; both search for the worst change, these draw one.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterable
from dataclasses import replace

from .examples import Example

#: letter -> its neighbors on a QWERTY keyboard
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBORS: dict[str, str] = {}
for _r, _row in enumerate(_ROWS):
    for _i, _key in enumerate(_row):
        _NEIGHBORS[_key] = "".join(
            keys[j]
            for keys, j in (
                (_row, _i - 1),
                (_row, _i + 1),
                *((_ROWS[s], _i + d) for s in (_r - 1, _r + 1) if 0 <= s < 3 for d in (0, -1 if s > _r else 1)),
            )
            if 0 <= j < len(keys)
        )
#: Latin letter -> the Cyrillic one that looks the same
_HOMOGLYPHS = dict(zip("aceijopsxyABCEHIJKMOPSTXY", "асеіјорѕхуАВСЕНІЈКМОРЅТХУ", strict=True))
_MARKS = ",.;:!?-"
_CLAUSE = ("and", "true", "is", "true")

Words = list[str]


def keyboard(word: str, rng: random.Random) -> str:
    """Replace one letter by a neighbor on a QWERTY keyboard; TextAttack ``WordSwapQWERTY``, TextFlint ``Keyboard``."""
    positions = [i for i, char in enumerate(word) if char.lower() in _NEIGHBORS]
    if not positions:
        return word
    position = rng.choice(positions)
    neighbor = rng.choice(_NEIGHBORS[word[position].lower()])
    return word[:position] + (neighbor.upper() if word[position].isupper() else neighbor) + word[position + 1 :]


def char_swap(word: str, rng: random.Random) -> str:
    """Swap two neighboring characters; TextAttack ``WordSwapNeighboringCharacterSwap``."""
    if len(word) < 2:
        return word
    position = rng.randrange(len(word) - 1)
    return word[:position] + word[position + 1] + word[position] + word[position + 2 :]


def char_drop(word: str, rng: random.Random) -> str:
    """Delete one character, but never the only one; TextAttack ``WordSwapRandomCharacterDeletion``."""
    if len(word) < 2:
        return word
    position = rng.randrange(len(word))
    return word[:position] + word[position + 1 :]


def char_insert(word: str, rng: random.Random) -> str:
    """Insert one random lower-case letter; TextAttack ``WordSwapRandomCharacterInsertion``."""
    position = rng.randrange(len(word) + 1)
    return word[:position] + rng.choice(string.ascii_lowercase) + word[position:]


def _double(word: str, rng: random.Random) -> str:
    position = rng.randrange(len(word))
    return word[:position] + word[position] + word[position:]


def typo(word: str, rng: random.Random) -> str:
    """Make one typing error: neighboring key, swapped, missing or doubled character, each with the same probability.

    TextFlint's ``Typos`` swaps, deletes, inserts or replaces by any letter, and spares first and last letters.
    """
    return rng.choice((keyboard, char_swap, char_drop, _double))(word, rng)


def homoglyph(word: str, rng: random.Random) -> str:
    """Replace one letter by a Cyrillic one that looks the same; TextAttack ``WordSwapHomoglyphSwap``."""
    positions = [i for i, char in enumerate(word) if char in _HOMOGLYPHS]
    if not positions:
        return word
    position = rng.choice(positions)
    return word[:position] + _HOMOGLYPHS[word[position]] + word[position + 1 :]


def punctuation(word: str, rng: random.Random) -> str:
    """Remove the marks at the end of a word, or append one; TextFlint's ``Punctuation`` puts marks around the text."""
    stem = word.rstrip(_MARKS)
    return stem if stem and stem != word else word + rng.choice(_MARKS)


def case(word: str, rng: random.Random) -> str:
    """Swap upper and lower case; TextFlint's ``WordCase`` sets one case for the whole text."""
    return word.swapcase()


def whitespace(word: str, rng: random.Random) -> str:
    """Insert a space within a word; neither TextAttack nor TextFlint has it."""
    if len(word) < 2:
        return word
    position = rng.randrange(1, len(word))
    return f"{word[:position]} {word[position:]}"


def word_drop(words: Words, indices: list[int], rng: random.Random) -> Words:
    """Delete words, but never all; TextAttack ``WordDeletion``."""
    index_set = set(indices)
    return [w for i, w in enumerate(words) if i not in index_set] or words


def word_swap(words: Words, indices: list[int], rng: random.Random) -> Words:
    """Swap a word with the next one; TextAttack's ``WordInnerSwapRandom`` swaps any two."""
    result = list(words)
    for i in indices:
        j = i + 1 if i + 1 < len(words) else i - 1
        if j >= 0:
            result[i], result[j] = result[j], result[i]
    return result


def word_duplicate(words: Words, indices: list[int], rng: random.Random) -> Words:
    """Repeat a word; neither TextAttack nor TextFlint has it."""
    index_set = set(indices)
    return [w for i, w in enumerate(words) for _ in range(2 if i in index_set else 1)]


def distraction(words: Words, indices: list[int], rng: random.Random) -> Words:
    """Append *and true is true*, so often that ``ratio`` is the share of added words on average.

    This is the word-overlap stress test of Naik et al. 2018 (arXiv 1806.00692), which appends it five times;
    TextFlint's ``AppendIrr`` appends a sentence of another text.
    """
    return words + list(_CLAUSE) * int(len(indices) / len(_CLAUSE) + rng.random())


def _per_word(perturb_word: Callable[[str, random.Random], str]) -> Callable[[Words, list[int], random.Random], Words]:
    def perturb_words(words: Words, indices: list[int], rng: random.Random) -> Words:
        index_set = set(indices)  # constant-time lookup
        return [perturb_word(w, rng) if i in index_set else w for i, w in enumerate(words)]

    return perturb_words


#: kind -> function of words, indices of those to perturb and a generator, which returns the new words
PERTURBATIONS: dict[str, Callable[[Words, list[int], random.Random], Words]] = {
    "typos": _per_word(typo),
    "keyboard": _per_word(keyboard),
    "char_swap": _per_word(char_swap),
    "char_drop": _per_word(char_drop),
    "char_insert": _per_word(char_insert),
    "homoglyph": _per_word(homoglyph),
    "punctuation": _per_word(punctuation),
    "case": _per_word(case),
    "whitespace": _per_word(whitespace),
    "word_drop": word_drop,
    "word_swap": word_swap,
    "word_duplicate": word_duplicate,
    "distraction": distraction,
}


def perturb_text(text: str, kind: str, ratio: float, seed: int | str) -> str:
    """Perturb about a share ``ratio`` of the words of ``text``; the same arguments give the same text."""
    words = text.split()
    rng = random.Random(f"{seed}|{kind}|{ratio}|{text}")
    count = min(len(words), int(ratio * len(words) + rng.random()))
    if count == 0:
        return text
    indices = sorted(rng.sample(range(len(words)), count))
    return " ".join(PERTURBATIONS[kind](words, indices, rng))


def perturb(examples: Iterable[Example], kind: str, ratio: float, seed: int) -> list[Example]:
    """Perturb each text (both texts of a pair; the messages of the user in a chat); labels and responses stay."""

    def perturb_example(example: Example) -> Example:
        roles = example.roles or ("user",) * len(example.texts)
        texts = (
            perturb_text(t, kind, ratio, seed) if r == "user" else t for t, r in zip(example.texts, roles, strict=True)
        )
        return replace(example, texts=tuple(texts))

    return [perturb_example(example) for example in examples]
