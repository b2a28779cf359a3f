"""Where names stand beside their marks, so that they cover neither marks nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LETTER = 6.2  # width of a letter, at most on the mean
_ABOVE, _BELOW = 10.0, 3.0  # what a line of text takes over and under its baseline
_MARK = 6.0  # half the width of a mark
_GAP = 9.0  # from the middle of a mark to its name
_RISES = (-5.0, 4.0, 14.0, -15.0, 24.0, -25.0, 34.0, -35.0)  # of the baseline from the mark's middle, the best first


@dataclass(frozen=True)
class Box:
    """An area of a picture, in pixels from the top left."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Box) -> float:
        """Size of what both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    @property
    def size(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True)
class Label:
    """A name in its place.

    Attributes:
        x, y: of the baseline's end that is next to the mark.
        left: whether the name stands to the left of it.
        box: what it covers.
    """

    x: float
    y: float
    left: bool
    box: Box


def labels(names: Sequence[str], marks: Sequence[tuple[float, float]], inside: Box) -> list[Label]:
    """A place for each name: from the top mark to the lowest each takes the first of those that cover least.

    Args:
        marks: (x, y) of the middle of each.
        inside: where names may stand; what is outside counts as covered.
    """
    taken = [Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in marks]
    placed: dict[int, Label] = {}
    for number in sorted(range(len(names)), key=lambda i: marks[i][1]):
        best = min(_places(names[number], *marks[number]), key=lambda place: _covered(place.box, taken, inside))
        placed[number] = best
        taken.append(best.box)
    return [placed[number] for number in range(len(names))]


def _places(name: str, x: float, y: float) -> Iterator[Label]:
    width = _LETTER * len(name)
    for rise in _RISES:
        for left in (False, True):
            start = x - _GAP - width if left else x + _GAP
            base = y + rise
            box = Box(start, base - _ABOVE, start + width, base + _BELOW)
            yield Label(x - _GAP if left else x + _GAP, base, left, box)


def _covered(box: Box, taken: Sequence[Box], inside: Box) -> float:
    return box.size - box.shared(inside) + sum(box.shared(other) for other in taken)
