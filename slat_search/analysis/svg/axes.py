"""Shared by all plots: a frame with scales, ticks and a grid, and marks that say what they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Axis:
    """One direction of a plot.

    Attributes:
        low, high: ends, in units of the axis.
        ticks: place, in units of the axis -> what stands there.
        label: of the whole axis.
    """

    low: float
    high: float
    ticks: Mapping[float, str]
    label: str


@dataclass(frozen=True)
class Frame:
    """The area of a plot inside its picture, in pixels from the top left."""

    width: int = 560
    height: int = 380
    left: int = 58
    right: int = 128
    top: int = 14
    bottom: int = 46

    def x(self, axis: Axis, value: float) -> float:
        return self.left + (value - axis.low) / (axis.high - axis.low) * (self.width - self.left - self.right)

    def y(self, axis: Axis, value: float) -> float:
        return self.top + (axis.high - value) / (axis.high - axis.low) * (self.height - self.top - self.bottom)

    @property
    def floor(self) -> int:
        """Where the level axis lies."""
        return self.height - self.bottom

    def axes(self, across: Axis, up: Axis) -> str:
        """Grid, ticks and labels."""
        end = self.width - self.right
        parts = []
        for value, words in across.ticks.items():
            x = self.x(across, value)
            parts.append(f'<path class="grid" d="M{x:.1f} {self.top}V{self.floor}"/>')
            parts.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{self.floor + 16}">{words}</text>')
        for value, words in up.ticks.items():
            y = self.y(up, value)
            parts.append(f'<path class="grid" d="M{self.left} {y:.1f}H{end}"/>')
            parts.append(f'<text class="tick" text-anchor="end" x="{self.left - 6}" y="{y + 4:.1f}">{words}</text>')
        middle = (self.left + end) / 2
        centre = (self.top + self.floor) / 2
        parts.append(
            f'<text class="axis" text-anchor="middle" x="{middle}" y="{self.height - 8}">{escape(across.label)}</text>'
            f'<text class="axis" text-anchor="middle" transform="translate(13 {centre}) rotate(-90)">'
            f"{escape(up.label)}</text>"
        )
        return "".join(parts)


def picture(kind: str, width: float, height: float, description: str, parts: Sequence[str]) -> str:
    """A whole plot; ``description`` says in words what is to be seen, for those who do not see it."""
    return (
        f'<svg class="plot {kind}" viewBox="0 0 {width:g} {height:g}" role="group" aria-label="{escape(description)}">'
        + "".join(parts)
        + "</svg>"
    )


def mark(content: str, lines: Sequence[str], kind: str = "", target: str = "") -> str:
    """Part of a plot that shows ``lines`` when it is pointed at or reached by keyboard.

    Args:
        content: SVG, escaped already.
        target: id of an element of the page that a click leads to.
    """
    group = f' class="{kind}"' if kind else ""
    words, tip = escape(", ".join(lines)), escape("\n".join(lines))
    if target:
        inner = f'<g{group} data-tip="{tip}">{content}</g>'
        return f'<a href="#{escape(target)}" aria-label="{words}">{inner}</a>'
    return f'<g{group} data-tip="{tip}" tabindex="0" role="img" aria-label="{words}">{content}</g>'


def ticks(low: float, high: float, count: int = 5) -> dict[float, str]:
    """About ``count`` round values between two."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 2.5, 5, 10), key=lambda m: abs(m * power - rough))
    first = math.ceil(low / step)
    values = [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]
    return {value: f"{value:g}" for value in values}


def sizes(low: float, high: float) -> dict[float, str]:
    """Powers of ten between two places on a :func:`log_size` axis, and 0 where it is reached."""
    found = {0.0: "0"} if low < 0 else {}
    for power in range(max(1, math.ceil(low)), math.floor(high) + 1):
        found[float(power)] = _short(10**power)
    return found


def log_size(params: float) -> float:
    """Where a number of parameters stands on a logarithmic axis that has a place for 0."""
    return math.log10(params + 1)


def _short(number: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (1000, "k")):
        if number >= size:
            return f"{number // size}{letter}"
    return str(number)
