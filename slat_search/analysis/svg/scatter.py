"""Quality over parameters, a mark a method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

from .axes import (
    Axis,
    Frame,
    log_size,
    mark,
    picture,
    sizes,
    ticks,
)
from .labels import Box, Label, labels

_FRAME = Frame()


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
    """One plot; the steps are the best value that so many parameters reach."""
    places = [log_size(p.params) for p in points]
    bounds = [v for p in points for v in (p.low, p.high, p.value) if not math.isnan(v)]
    margin = 0.08 * (max(bounds) - min(bounds)) or 0.01
    left, right = min(places) - 0.15, max(places) + 0.15
    low, high = min(bounds) - margin, max(bounds) + margin
    across = Axis(left, right, sizes(left, right), "trained parameters")
    up = Axis(low, high, ticks(low, high), ylabel)
    xs = [_FRAME.x(across, place) for place in places]
    middles = [(x, _FRAME.y(up, point.value)) for x, point in zip(xs, points, strict=True)]
    names = labels([p.name for p in points], middles, Box(_FRAME.left, _FRAME.top, _FRAME.width, _FRAME.floor))
    marks = [_mark(point, x, up, name) for point, x, name in zip(points, xs, names, strict=True)]
    parts = [_FRAME.axes(across, up), _front(points, across, up), *marks]
    return Markup(picture("scatter", _FRAME.width, _FRAME.height, description, parts))


def _mark(point: Point, x: float, up: Axis, label: Label) -> str:
    middle = _FRAME.y(up, point.value)
    shape = (
        f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="5.5"/>'
        if point.found
        else f'<rect x="{x - 4.5:.1f}" y="{middle - 4.5:.1f}" width="9" height="9"/>'
    )
    bar = ""
    if not math.isnan(point.low) and point.high > point.low:
        bar = f'<path class="bar" d="M{x:.1f} {_FRAME.y(up, point.low):.1f}V{_FRAME.y(up, point.high):.1f}"/>'
    anchor = ' text-anchor="end"' if label.left else ""
    name = f'<text x="{label.x:.1f}"{anchor} y="{label.y:.1f}">{escape(point.name)}</text>'
    kind = "found" if point.found else "baseline"
    return mark(bar + shape + name, (point.name, *point.details), kind, point.target)


def _front(points: Sequence[Point], across: Axis, up: Axis) -> str:
    best = -math.inf
    path = ""
    for point in sorted(points, key=lambda p: (p.params, -p.value)):
        if point.value > best:
            x, y = _FRAME.x(across, log_size(point.params)), _FRAME.y(up, point.value)
            path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
            best = point.value
    return f'<path class="front" d="{path}H{_FRAME.width - _FRAME.right}"/>'
