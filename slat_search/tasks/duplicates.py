"""Removal of repeated rows, and the notes on them."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from .examples import Example, Splits, normal

_WIDTH = 60  # characters of an example in a note


def without_leaks(splits: Mapping[str, Sequence[Example]]) -> tuple[Splits, list[str]]:
    """Remove from train its repeated rows and the texts of validation or test, and from validation the texts of test.

    Texts are the same whatever their case and the space between words. Validation and test keep their own repeated
    rows, and train keeps a prompt with another response.

    Returns:
        The splits, and a sentence on each kind of removal and its reason.
    """
    first_rows: dict[tuple[str, ...], tuple[str, Example]] = {}
    clean: Splits = {}
    repeats: Counter[tuple[str, str]] = Counter()
    conflicts: dict[tuple[str, str], list[Example]] = {}
    answers: set[tuple[tuple[str, ...], str]] = set()
    for name in ("test", "validation", "train"):
        for example in splits.get(name, []):
            texts = normal(example.texts)
            source, first = first_rows.setdefault(texts, (name, example))
            is_repeat = (texts, example.response) in answers
            answers.add((texts, example.response))
            if example.response and name == source == "train" and not is_repeat:
                clean.setdefault(name, []).append(example)
                continue
            if first is not example:
                repeats[name, source] += 1
                if (first.label, first.response) != (example.label, example.response):
                    conflicts.setdefault((name, source), []).append(example)
            if first is example or (name == source != "train"):
                clean.setdefault(name, []).append(example)
    notes = [_note(name, source, count, conflicts.get((name, source), [])) for (name, source), count in repeats.items()]
    return clean, notes


def _note(name: str, source: str, count: int, conflicts: Sequence[Example]) -> str:
    rows = f"{count:,} row{'s' * (count > 1)} of {name} repeat{'s' * (count == 1)}"
    if name != source:
        sentence = f"{rows} texts of {source} and {'are' if count > 1 else 'is'} left out of {name}"
    else:
        sentence = f"{rows} earlier ones and {'are' if count > 1 else 'is'} {'left out' if name == 'train' else 'kept'}"
    if conflicts:
        text = textwrap.shorten(" | ".join(conflicts[0].texts), _WIDTH, placeholder=" ...")
        target = "response" if conflicts[0].response else "label"
        sentence += f"; {len(conflicts):,} of them with another {target}, such as {text!r}"
    return sentence
