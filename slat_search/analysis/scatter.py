"""Scatter plots of quality over parameters as SVG: sharp on paper, readable without scripts, links on every point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
from markupsafe import Markup

Scale = Callable[[float], float]

_WIDTH, _HEIGHT = 560, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 128, 14, 46
_LABEL = 13  # least distance of labels


@dataclass(frozen=True)
class Point:
    """One method.

    Attributes:
        name: beside the point.
        params: trained parameters; 0 stands at the left edge of the logarithmic axis.
        value: on the upright axis, with ``low`` and ``high`` as its error bar.
        found: by a search.
        details: lines that are shown when it is pointed at.
        target: id of an element of the page that a click leads to.
    """

    name: str
    params: float
    value: float
    low: float
    high: float
    found: bool
    details: Sequence[str] = field(default=())
    target: str = ""


def scatter(points: Sequence[Point], ylabel: str, description: str) -> Markup:
    """One plot; the steps are the best value that so many parameters reach.

    Args:
        description: says in words what is to be seen, for those who do not see it.
    """
    xs = [math.log10(p.params + 1) for p in points]
    bounds = [v for p in points for v in (p.low, p.high, p.value) if not math.isnan(v)]
    x_ends = (min(xs) - 0.15, max(xs) + 0.15)
    margin = 0.08 * (max(bounds) - min(bounds)) or 0.01
    y_ends = (min(bounds) - margin, max(bounds) + margin)

    def x(log_params: float) -> float:
        return _LEFT + (log_params - x_ends[0]) / (x_ends[1] - x_ends[0]) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _TOP + (y_ends[1] - value) / (y_ends[1] - y_ends[0]) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [*_axes(x, y, x_ends, y_ends, ylabel), _front(points, x, y)]
    heights = _apart([y(p.value) for p in points], [x(v) for v in xs])
    for point, place, height in zip(points, xs, heights, strict=True):
        parts.append(_mark(point, x(place), y, height))
    return Markup(
        f'<svg class="scatter" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" aria-label="{escape(description)}">'
        + "".join(parts)
        + "</svg>"
    )


def _mark(point: Point, x: float, y: Scale, label_at: float) -> str:
    kind = "found" if point.found else "baseline"
    middle = y(point.value)
    shape = (
        f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="5.5"/>'
        if point.found
        else f'<rect x="{x - 4.5:.1f}" y="{middle - 4.5:.1f}" width="9" height="9"/>'
    )
    bar = ""
    if not math.isnan(point.low) and point.high > point.low:
        bar = f'<path class="bar" d="M{x:.1f} {y(point.low):.1f}V{y(point.high):.1f}"/>'
    tip = escape("\n".join((point.name, *point.details)))
    name = f'<text x="{x + 9:.1f}" y="{label_at - 5:.1f}">{escape(point.name)}</text>'
    content = f'<g class="{kind}" data-tip="{tip}">{bar}{shape}{name}</g>'
    words = escape(", ".join((point.name, *point.details)))
    if point.target:
        return f'<a href="#{escape(point.target)}" aria-label="{words}">{content}</a>'
    return f'<g tabindex="0" role="img" aria-label="{words}">{content}</g>'


def _front(points: Sequence[Point], x: Scale, y: Scale) -> str:
    best = -math.inf
    path = ""
    for point in sorted(points, key=lambda p: (p.params, -p.value)):
        if point.value > best:
            place = x(math.log10(point.params + 1))
            path += f"M{place:.1f} {y(point.value):.1f}" if not path else f"H{place:.1f}V{y(point.value):.1f}"
            best = point.value
    return f'<path class="front" d="{path}H{_WIDTH - _RIGHT}"/>'


def _axes(x: Scale, y: Scale, x_ends: tuple[float, float], y_ends: tuple[float, float], ylabel: str) -> list[str]:
    floor = _HEIGHT - _BOTTOM
    parts = []
    for power in range(math.ceil(max(0.0, x_ends[0])), math.floor(x_ends[1]) + 1):
        if power or x_ends[0] < 0:
            words = "0" if power == 0 else _short(10**power)
            parts.append(f'<path class="grid" d="M{x(power):.1f} {_TOP}V{floor}"/>')
            parts.append(f'<text class="tick" text-anchor="middle" x="{x(power):.1f}" y="{floor + 16}">{words}</text>')
    for value in ticks(*y_ends):
        parts.append(f'<path class="grid" d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{value:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="axis" text-anchor="middle" x="{middle}" y="{_HEIGHT - 8}">trained parameters</text>')
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(13 {(_TOP + floor) / 2}) rotate(-90)">'
        f"{escape(ylabel)}</text>"
    )
    return parts


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round values between two."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 2.5, 5, 10), key=lambda m: abs(m * power - rough))
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _short(number: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (1000, "k")):
        if number >= size:
            return f"{number // size}{letter}"
    return str(number)


def _apart(heights: Sequence[float], places: Sequence[float]) -> list[float]:
    """Heights of labels, moved so that those beside each other do not lie on each other."""
    found = np.array(heights)
    order = np.argsort(found)
    for position, i in enumerate(order):
        for j in order[:position]:
            if abs(places[i] - places[j]) < _RIGHT and found[i] < found[j] + _LABEL:
                found[i] = found[j] + _LABEL
    return [float(min(value, _HEIGHT - _BOTTOM - 2)) for value in found]
