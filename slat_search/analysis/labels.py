"""Where names stand beside their marks, so that they cover neither marks nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_ABOVE, _BELOW = 11.0, 4.0  # what a line of text takes over and under its baseline
_MARK = 6.0  # half the width of a mark
_GAP = 9.0  # from the middle of a mark to its name
_RISES = (-5.0, 4.0, 14.0, -15.0, 24.0, -25.0, 34.0, -35.0)  # of the baseline from the mark's middle, the best first
_FARTHER = tuple(sign * rise for rise in range(44, 200, 10) for sign in (1.0, -1.0))  # for numbers alone
_ASIDE = (0.0, 16.0, 32.0, 48.0, 64.0)


@dataclass(frozen=True)
class Box:
    """An area of a picture, in pixels from the top left."""

    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: Box) -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    @property
    def size(self) -> float:
        return (self.right - self.left) * (self.bottom - self.top)


@dataclass(frozen=True)
class Label:
    """A placed name, or a number if the name did not fit.

    Attributes:
        text: the name, or a number, which a key explains.
        x, y: of the baseline's end that is next to the mark.
        left: whether the name stands to the left of it.
        box: what it covers.
    """

    text: str
    x: float
    y: float
    left: bool
    box: Box


def labels(
    names: Sequence[str], marks: Sequence[tuple[float, float]], inside: Box, letter: float, thin: Sequence[Box] = ()
) -> list[Label]:
    """A place for each name: from the top mark to the lowest each takes the first that covers nothing. A name that has
    none becomes a number, counted from 1.

    Args:
        marks: (x, y) of the middle of each.
        inside: where names may stand; what is outside counts as covered.
        letter: width of a letter.
        thin: lines, such as error bars, which are left free where that is possible.
    """
    taken = [Box(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in marks]
    placed: dict[int, Label] = {}
    numbered = 0
    for place in sorted(range(len(names)), key=lambda i: (marks[i][1], marks[i][0])):
        best = min(_near(names[place], *marks[place], letter), key=lambda one: _cost(one.box, taken, inside, thin))
        if _covered(best.box, taken, inside) > 0:
            numbered += 1
            around = _around(str(numbered), *marks[place], letter)
            best = min(around, key=lambda one: _cost(one.box, taken, inside, thin))
        placed[place] = best
        taken.append(best.box)
    return [placed[number] for number in range(len(names))]


def _near(text: str, x: float, y: float, letter: float) -> Iterator[Label]:
    for rise in _RISES:
        for left in (False, True):
            yield _label(text, x, y + rise, left, letter)


def _around(text: str, x: float, y: float, letter: float) -> Iterator[Label]:
    """Places of a number: near its mark, or farther away at the end of a line."""
    yield from _near(text, x, y, letter)
    for rise in (*_RISES, *_FARTHER):
        for aside in _ASIDE:
            for left in (False, True):
                yield _label(text, x - aside if left else x + aside, y + rise, left, letter)


def _label(text: str, x: float, base: float, left: bool, letter: float) -> Label:
    width = letter * len(text)
    start = x - _GAP - width if left else x + _GAP
    return Label(
        text, x - _GAP if left else x + _GAP, base, left, Box(start, base - _ABOVE, start + width, base + _BELOW)
    )


def _covered(box: Box, taken: Sequence[Box], inside: Box) -> float:
    return box.size - box.shared(inside) + sum(box.shared(other) for other in taken)


def _cost(box: Box, taken: Sequence[Box], inside: Box, thin: Sequence[Box]) -> tuple[float, float]:
    return _covered(box, taken, inside), sum(box.shared(line) for line in thin)


def apart(wanted: Sequence[float], heights: Sequence[float], low: float, high: float) -> list[float]:
    """Return middles of texts that stand under each other without overlap, as near to the ``wanted`` as that allows.

    Args:
        wanted: middle of each, growing downwards.
        heights: of each text.
        low, high: edges of the room; texts that do not fit go beyond ``high``.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    middles = list(wanted)
    edge = low
    for place in order:
        middles[place] = max(wanted[place], edge + heights[place] / 2)
        edge = middles[place] + heights[place] / 2
    edge = max(high, low + sum(heights))
    for place in reversed(order):
        middles[place] = min(middles[place], edge - heights[place] / 2)
        edge = middles[place] - heights[place] / 2
    return middles
