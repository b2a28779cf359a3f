"""Repeated rows: which ones leave the training set, and the notes on them."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from .examples import Example, Splits, normal

_WIDTH = 60


def without_leaks(splits: Mapping[str, Sequence[Example]]) -> tuple[Splits, list[str]]:
    """Remove from train its repeats and texts of validation or test, and from validation texts of test.

    Texts are the same whatever their case and the space between words. A validation or a test split that was given
    keeps what it holds twice, and train a prompt with another response.

    Returns:
        The splits, and what was done and why, a sentence each.
    """
    first: dict[tuple[str, ...], tuple[str, Example]] = {}
    clean: Splits = {}
    repeats: Counter[tuple[str, str]] = Counter()
    contradicted: dict[tuple[str, str], list[Example]] = {}
    answers: set[tuple[tuple[str, ...], str]] = set()
    for name in ("test", "validation", "train"):
        for example in splits.get(name, []):
            texts = normal(example.texts)
            there, other = first.setdefault(texts, (name, example))
            known = (texts, example.response) in answers
            answers.add((texts, example.response))
            if example.response and name == there == "train" and not known:
                clean.setdefault(name, []).append(example)
                continue
            if other is not example:
                repeats[name, there] += 1
                if (other.label, other.response) != (example.label, example.response):
                    contradicted.setdefault((name, there), []).append(example)
            if other is example or (name == there != "train"):
                clean.setdefault(name, []).append(example)
    notes = [_note(name, there, count, contradicted.get((name, there), [])) for (name, there), count in repeats.items()]
    return clean, notes


def _note(name: str, there: str, count: int, contradicted: Sequence[Example]) -> str:
    rows = f"{count:,} row{'s' * (count > 1)} of {name} repeat{'s' * (count == 1)}"
    if name != there:
        sentence = f"{rows} texts of {there} and {'are' if count > 1 else 'is'} left out of {name}"
    else:
        sentence = f"{rows} earlier ones and {'are' if count > 1 else 'is'} {'left out' if name == 'train' else 'kept'}"
    if contradicted:
        text = textwrap.shorten(" | ".join(contradicted[0].texts), _WIDTH, placeholder=" ...")
        answer = "response" if contradicted[0].response else "label"
        sentence += f"; {len(contradicted):,} of them with another {answer}, such as {text!r}"
    return sentence
