"""Registries that installed packages add to by entry points, see ``docs/how-to.md``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar, cast

T = TypeVar("T")


#: all groups of entry points
GROUPS = ("slat_search.kinds", "slat_search.metrics", "slat_search.tasks")


def names(group: str) -> list[str]:
    """Return the names of the entry points of a group, without loading them."""
    return sorted({point.name for point in entry_points(group=group)})


def packages() -> dict[str, str]:
    """Return the versions of the packages that add something."""
    points = [point for group in GROUPS for point in entry_points(group=group) if point.dist is not None]
    return {point.dist.name: point.dist.version for point in points if point.dist is not None}


class Registry(MutableMapping[str, T]):
    """Entries by name: our own first, then those of other packages, loaded at the first look and not at import.

    A program may add entries of its own by assignment. An entry point that cannot be loaded, is of another type or has
    a name that is taken is left out with a warning, as one broken package must not keep everything else from running.

    Example:
        >>> colors = Registry("slat_search.colors", str, {"red": "#f00"})
        >>> colors["blue"] = "#00f"
        >>> list(colors)
        ['red', 'blue']

    Args:
        group: of entry points, such as ``slat_search.kinds``.
        kind: what every entry is an instance of.
        own: entries of this package.
    """

    def __init__(self, group: str, kind: type, own: Mapping[str, T]):
        self._group = group
        self._kind = kind
        self._own = dict(own)

    @cached_property
    def _entries(self) -> dict[str, T]:
        entries = dict(self._own)
        for point in sorted(entry_points(group=self._group)):
            if (value := self._loaded(point, entries)) is not None:
                entries[point.name] = value
        return entries

    def _loaded(self, point: EntryPoint, entries: Mapping[str, T]) -> T | None:
        if point.name in entries:
            problem = "the name is taken"
        else:
            try:
                value: Any = point.load()
            except Exception as error:  # any error of a foreign package while it is imported
                problem = f"{type(error).__name__}: {error}"
            else:
                if isinstance(value, self._kind) and getattr(value, "name", point.name) == point.name:
                    return cast(T, value)
                problem = f"it is no {self._kind.__name__} of this name"
        of = f" of the package {point.dist.name}" if point.dist is not None else ""
        warnings.warn(f"{self._group}: {point.name}{of} is left out: {problem}", stacklevel=2)
        return None

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __setitem__(self, name: str, value: T) -> None:
        self._entries[name] = value

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
