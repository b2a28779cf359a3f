"""A core between singular directions as a small heat map: row i is the i-th left direction, column j the right one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

CELLS = 13  # at most so many a side; of more directions several share a cell
_SHADES = 4
Entries = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Frame:
    """The scale that all cores of one figure share, so that they can be compared.

    Attributes:
        directions: that a map spans.
        most: entries of the fullest cell of any core.
    """

    directions: int
    most: int = 1

    @classmethod
    def of(cls, modules: Iterable[Mapping[str, Any]]) -> Self:
        """For the modules of a structure's JSON."""
        cores = [module["entries"] for module in modules if module.get("entries")]
        wide = cls(directions(entry for entries in cores for entry in entries))
        return cls(wide.directions, max((max(wide.counts(entries).values()) for entries in cores), default=1))

    @property
    def width(self) -> int:
        """Directions that share a row or a column of cells."""
        return max(1, -(-self.directions // CELLS))

    def counts(self, entries: Entries) -> dict[tuple[int, int], int]:
        """(row, column) of a cell -> entries in it."""
        return Counter((entry[0] // self.width, entry[1] // self.width) for entry in entries)


def directions(entries: Iterable[Sequence[int]]) -> int:
    """Leading directions that some entries need."""
    return max((1 + max(entry) for entry in entries), default=0)


def core_map(entries: Entries, frame: Frame, x: float, y: float, side: float) -> str:
    """SVG of one core in a square; cells with more entries are more opaque, one path a shade."""
    pitch = side / -(-frame.directions // frame.width)
    paths: dict[int, list[str]] = {}
    for (row, column), count in sorted(frame.counts(entries).items()):
        corner = f"M{x + column * pitch:.2f} {y + row * pitch:.2f}"
        shade = -(-_SHADES * count // frame.most)
        paths.setdefault(shade, []).append(f"{corner}h{pitch:.2f}v{pitch:.2f}h-{pitch:.2f}z")
    return f'<rect class="core" x="{x:g}" y="{y:g}" width="{side:g}" height="{side:g}"/>' + "".join(
        f'<path class="unit-spectral" fill-opacity="{0.25 + 0.75 * shade / _SHADES:.2f}" d="{"".join(drawn)}"/>'
        for shade, drawn in sorted(paths.items())
    )
