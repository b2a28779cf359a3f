"""No damage to a file ends in a traceback, and none is taken for other content where a digest can tell.

Each reader gets files with damaged bytes; JSON also with edited values, once with a digest that is then wrong, and once
without one, as an earlier version wrote it. ``make test-fuzz`` prints how many were tried and what became of them;
``FUZZ`` is how many a reader and kind of damage.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slat_search.errors import SlatError
from tests.fuzz.mutations import as_json, damaged, edited
from tests.fuzz.readers import AGAIN, READERS, Reader

_SHORT, _LONG = 12, 1500
OUTCOMES = ("one sentence", "equal", AGAIN, "as written", "other content", "traceback")


def _variants(reader: Reader, raw: bytes, count: int, rng: random.Random) -> Iterator[tuple[bytes, bool]]:
    """Yield damaged files, and whether a digest can tell."""
    for _ in range(count):
        yield damaged(raw, rng), reader.has_digest
    if not reader.is_json:
        return
    whole = json.loads(raw)
    without = {name: value for name, value in whole.items() if name != "digest"} if isinstance(whole, dict) else whole
    has_digest = reader.has_digest and isinstance(whole, dict) and "digest" in whole
    for _ in range(count):
        changed = edited(without, rng)
        yield as_json(changed), False
        if has_digest and isinstance(changed, dict):
            yield as_json({**changed, "digest": whole["digest"]}), True


def _outcome(reader: Reader, path: Path, folder: Path, expected: Any, has_digest: bool) -> str:
    try:
        result = reader.read(path)
    except SlatError as error:
        is_one = str(folder) in str(error) and (reader.may_list or "\n" not in str(error))
        return "one sentence" if is_one else f"traceback: {error!r}"
    except Exception as error:
        return f"traceback: {error!r}"
    if result is AGAIN:
        return AGAIN
    if result == expected or repr(result) == repr(expected):  # NaN is not itself
        return "equal"
    return "other content" if has_digest else "as written"


def fuzz(name: str, folder: Path, count: int) -> Counter[str]:
    """Damage the file of a reader so many times; returns how many had which outcome."""
    reader, rng = READERS[name], random.Random(name)
    path = reader.make(folder)
    raw, expected = path.read_bytes(), reader.read(path)
    outcomes: Counter[str] = Counter()
    for variant, has_digest in _variants(reader, raw, count, rng):
        path.write_bytes(variant)
        outcome = _outcome(reader, path, folder, expected, has_digest)
        outcomes[outcome] += 1
        if outcome.startswith(("traceback", "other")):
            shutil.copy(path, folder.with_name(f"{folder.name}-{sum(outcomes.values())}"))
            print(name, outcome, folder.with_name(f"{folder.name}-{sum(outcomes.values())}"))
    path.write_bytes(raw)
    assert repr(reader.read(path)) == repr(expected)  # a reader leaves nothing behind
    return outcomes


def _check(outcomes: Counter[str]) -> None:
    assert not [outcome for outcome in outcomes if outcome.startswith(("traceback", "other content"))], outcomes
    assert outcomes["one sentence"] + outcomes[AGAIN]


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "it").mkdir()
    _check(fuzz(name, tmp_path / "it", _SHORT))


@pytest.mark.fuzz
def test_much_damage_is_one_sentence(tmp_path: Path) -> None:
    count, failed = int(os.environ.get("FUZZ", _LONG)), []
    print(f"\n| file | tried | {' | '.join(OUTCOMES)} |\n|---{'|---:' * (1 + len(OUTCOMES))}|")
    total: Counter[str] = Counter()
    for number, name in enumerate(READERS):
        (tmp_path / str(number)).mkdir()
        result = fuzz(name, tmp_path / str(number), count)
        plain = Counter({name: sum(n for told, n in result.items() if told.startswith(name)) for name in OUTCOMES})
        total += plain
        print(f"| {name} | {result.total():,} | {' | '.join(f'{plain[name]:,}' for name in OUTCOMES)} |", flush=True)
        failed += [name] if plain["other content"] + plain["traceback"] else []
    print(f"| all | {total.total():,} | {' | '.join(f'{total[name]:,}' for name in OUTCOMES)} |")
    assert not failed
