"""Limits on the method options of adapters and configurations, so that none of them computes forever."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ..errors import SlatError

_parser: Any = re._parser  # type: ignore[attr-defined]
_MAX_CHARACTERS = 1000  # characters of a pattern
_MAX_TEXTS = 20_000  # texts in all: names of modules
_MAX_REPEATS = 3  # of one pattern; matching a name of n characters takes n to this power at most, and once more
_MAX_ITERATIONS = 100
_UNBOUNDED = re.compile(r"seed|key$|total_step|tinit|tfinal|deltaT")  # fields whose numbers are no amounts of work
_COUNT_FIELDS = ("theta_d_length", "n_frequency")  # that count trained numbers, in all or per projection
_COUNT_METHODS = ("unilora", "fourierft", "tinylora")  # methods whose size counts trained numbers and is no width
_WIDTH_FACTOR = 4  # a size may be this many times the widest layer,
_MIN_LIMIT = 1024  # and this with any model: VeRA shares projections of 256 directions


def check_options(method: str, backbone: nn.Module, options: Mapping[str, Any]) -> None:
    """Check that the options of a method ask for no more than the model could ever use.

    Args:
        options: those of :func:`.apply_method`; texts among the fields of ``peft`` may be regular expressions, which
            peft matches against the names of all modules.

    Raises:
        SlatError: a size, budget or number of iterations beyond reason, or a pattern that could match forever.
    """
    params = sum(p.numel() for p in backbone.parameters())
    max_width = max(
        (max(p.shape) for n, p in backbone.named_parameters() if p.dim() == 2 and "embed" not in n), default=1
    )
    width_limit, is_count = max(_WIDTH_FACTOR * max_width, _MIN_LIMIT), method in _COUNT_METHODS
    for name, limit in (("size", params if is_count else width_limit), ("budget", params)):
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or not 1 <= value <= limit):
            raise SlatError(f"baselines.{name}: {value!r} is beyond what this model can use, 1 to {limit:,}")
    texts = 0
    for field, value in _leaves("peft", options.get("peft", {})):
        if isinstance(value, str):
            texts += 1
            _check_text(field, value)
            continue
        setting = field.partition(".")[2].partition(".")[
            0
        ]  # what is below it may be named by the file, as `rank_pattern` is
        if isinstance(value, int | float) and not _UNBOUNDED.search(setting):
            limit = params if setting in _COUNT_FIELDS else width_limit
            limit = _MAX_ITERATIONS if "iter" in field else limit
            if not abs(value) <= limit:
                raise SlatError(f"baselines.{field}: {value!r} is beyond what this model can use, {limit:,} at most")
    if texts > _MAX_TEXTS:
        raise SlatError(f"baselines.peft: has {texts:,} texts; {_MAX_TEXTS:,} at most")


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the field and value of texts and numbers in options; keys of mappings are texts, too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{name} (a key)", str(key)
            yield from _leaves(f"{name}.{key}", item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _leaves(name, item)
    else:
        yield name, value


def _check_text(field: str, text: str) -> None:
    """Check a text as a regular expression, which peft may take it for."""
    if len(text) > _MAX_CHARACTERS:
        raise SlatError(
            f"baselines.{field[:_MAX_CHARACTERS]}: a text of {len(text):,} characters; {_MAX_CHARACTERS:,} at most"
        )
    if (count := re.search(r"niter_(\d+)", text)) and int(count[1]) > _MAX_ITERATIONS:
        raise SlatError(f"baselines.{field}: {text!r} asks for more than {_MAX_ITERATIONS} iterations")
    try:
        pattern = _parser.parse(text)
    except (re.error, RecursionError, OverflowError) as error:  # with what peft adds it may be one
        raise SlatError(f"baselines.{field}: {text!r} is no regular expression ({error})") from error
    repeats = _repeats(pattern, is_nested=False)
    if repeats is None or repeats > _MAX_REPEATS:
        raise SlatError(
            f"baselines.{field}: {text!r} could be matched for ever; a pattern may repeat {_MAX_REPEATS} times, and "
            "holds neither repeats nor alternatives in what it repeats, nor references"
        )


def _repeats(pattern: Any, is_nested: bool) -> int | None:
    """Return the number of repeats in a parsed pattern.

    It is None where a repeat contains another repeat or alternatives, and for references: a match may try these in
    several ways.
    """
    total = 0
    for code, argument in pattern:
        name = str(code)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, subpattern = argument
            is_variable = low != high or int(high) > 1
            if is_nested or int(low) > _MAX_CHARACTERS or _repeats(subpattern, is_nested=is_variable) is None:
                return None
            total += is_variable
        elif name in ("GROUPREF", "GROUPREF_EXISTS"):
            return None
        elif name == "BRANCH":
            counts = [_repeats(branch, is_nested) for branch in argument[1]]
            if is_nested or None in counts:
                return None
            total += sum(count or 0 for count in counts)
        else:
            for subpattern in _subpatterns(name, argument):
                count = _repeats(subpattern, is_nested)
                if count is None:
                    return None
                total += count
    return total


def _subpatterns(name: str, argument: Any) -> list[Any]:
    """Return the sub-patterns of groups and lookarounds."""
    if name == "SUBPATTERN":
        return [argument[-1]]
    if name in ("ASSERT", "ASSERT_NOT"):
        return [argument[1]]
    return [argument] if name == "ATOMIC_GROUP" else []
