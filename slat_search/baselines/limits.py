"""Limits on method options of adapters and configurations, so that none computes forever."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ..errors import SlatError

_parser: Any = re._parser  # type: ignore[attr-defined]
_LONGEST = 1000  # characters of a pattern
_MOST_TEXTS = 20_000  # texts in all: names of modules
_MOST_REPEATS = 3  # of one pattern; matching a name of n characters takes n to this power at most, and once more
_MOST_ITERATIONS = 100
_SEED = re.compile(r"seed|key$|total_step|tinit|tfinal|deltaT")  # numbers that nothing is counted up to
_COUNTS = ("theta_d_length", "n_frequency")  # of trained numbers, in all or of a projection
_OF_NUMBERS = ("unilora", "fourierft", "tinylora")  # methods whose size counts trained numbers, and no width
_TIMES = 4  # a size may be so many times the widest layer,
_LEAST = 1024  # and this in any case: VeRA shares projections of 256 directions whatever the model


def check_options(method: str, backbone: nn.Module, options: Mapping[str, Any]) -> None:
    """Check that the options of a method ask for no more than the model could ever use.

    Args:
        options: what :func:`.apply_method` takes; texts among the fields of ``peft`` may be regular expressions, which
            peft matches against the names of all modules.

    Raises:
        SlatError: a size, budget or number of iterations beyond reason, or a pattern that could be matched for ever.
    """
    params = sum(p.numel() for p in backbone.parameters())
    widest = max((max(p.shape) for n, p in backbone.named_parameters() if p.dim() == 2 and "embed" not in n), default=1)
    most_wide, counts = max(_TIMES * widest, _LEAST), method in _OF_NUMBERS
    for name, most in (("size", params if counts else most_wide), ("budget", params)):
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or not 1 <= value <= most):
            raise SlatError(f"baselines.{name}: {value!r} is beyond what this model can use, 1 to {most:,}")
    texts = 0
    for field, value in _leaves("peft", options.get("peft", {})):
        if isinstance(value, str):
            texts += 1
            _check_text(field, value)
        elif isinstance(value, int | float) and not _SEED.search(field):
            most = params if field.rpartition(".")[2] in _COUNTS else most_wide
            most = _MOST_ITERATIONS if "iter" in field else most
            if not abs(value) <= most:
                raise SlatError(f"baselines.{field}: {value!r} is beyond what this model can use, {most:,} at most")
    if texts > _MOST_TEXTS:
        raise SlatError(f"baselines.peft: has {texts:,} texts; {_MOST_TEXTS:,} at most")


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Return texts and numbers in options, with their places; keys of mappings are texts, too."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"{name} (a key)", str(key)
            yield from _leaves(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _leaves(name, inner)
    else:
        yield name, value


def _check_text(field: str, text: str) -> None:
    """Check a text as the regular expression that peft may take it for."""
    if len(text) > _LONGEST:
        raise SlatError(f"baselines.{field[:_LONGEST]}: a text of {len(text):,} characters; {_LONGEST:,} at most")
    if (count := re.search(r"niter_(\d+)", text)) and int(count[1]) > _MOST_ITERATIONS:
        raise SlatError(f"baselines.{field}: {text!r} asks for more than {_MOST_ITERATIONS} iterations")
    try:
        parsed = _parser.parse(text)
    except (re.error, RecursionError, OverflowError) as error:  # beside what peft adds it may well be one
        raise SlatError(f"baselines.{field}: {text!r} is no regular expression ({error})") from error
    repeats = _repeats(parsed, inside=False)
    if repeats is None or repeats > _MOST_REPEATS:
        raise SlatError(
            f"baselines.{field}: {text!r} could be matched for ever; a pattern may repeat {_MOST_REPEATS} times, and "
            "holds neither repeats nor alternatives in what it repeats, nor references"
        )


def _repeats(parsed: Any, inside: bool) -> int | None:
    """Count the repeats of a parsed pattern; None where one is within another, or holds what a match may try in several
    ways."""
    total = 0
    for code, argument in parsed:
        name = str(code)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, inner = argument
            varies = low != high or int(high) > 1
            if inside or int(low) > _LONGEST or _repeats(inner, inside=varies) is None:
                return None
            total += varies
        elif name in ("GROUPREF", "GROUPREF_EXISTS"):
            return None
        elif name == "BRANCH":
            counts = [_repeats(branch, inside) for branch in argument[1]]
            if inside or None in counts:
                return None
            total += sum(count or 0 for count in counts)
        else:
            for inner in _inner(name, argument):
                count = _repeats(inner, inside)
                if count is None:
                    return None
                total += count
    return total


def _inner(name: str, argument: Any) -> list[Any]:
    """Return the sub-patterns of groups and lookarounds."""
    if name == "SUBPATTERN":
        return [argument[-1]]
    if name in ("ASSERT", "ASSERT_NOT"):
        return [argument[1]]
    return [argument] if name == "ATOMIC_GROUP" else []
