"""The trials of a search over their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

_FRAME = Frame(right=24)


@dataclass(frozen=True)
class Progress:
    """One trial.

    Attributes:
        name: at its end.
        steps, values: of its reports.
        stopped: by the scheduler.
        chosen: to be trained again.
        details: lines that are shown when it is pointed at.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    stopped: bool
    chosen: bool
    details: Sequence[str]


def history(trials: Sequence[Progress], last: int, ylabel: str, description: str, counts: bool = False) -> Markup:
    """One line a trial.

    Args:
        last: step at which a trial is finished.
        counts: values are numbers of parameters, on a logarithmic axis.
    """
    values = [value for trial in trials for value in trial.values]
    placed = [log_size(value) for value in values] if counts else values
    margin = 0.06 * (max(placed) - min(placed)) or 0.01
    low, high = min(placed) - margin, max(placed) + margin
    up = Axis(low, high, sizes(low, high) if counts else ticks(low, high), ylabel)
    across = Axis(0, last, ticks(0, last), "training step")
    ordered = sorted(trials, key=lambda trial: (trial.chosen, not trial.stopped))  # what was chosen lies on top
    parts = [_FRAME.axes(across, up), *(_line(trial, across, up, counts) for trial in ordered)]
    return Markup(picture("history", _FRAME.width, _FRAME.height, description, parts))


def _line(trial: Progress, across: Axis, up: Axis, counts: bool) -> str:
    xs = [_FRAME.x(across, step) for step in trial.steps]
    ys = [_FRAME.y(up, log_size(value) if counts else value) for value in trial.values]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
    x, y = xs[-1], ys[-1]
    end = (
        f'<path class="end" d="M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"/>'
        if trial.stopped
        else f'<circle class="end" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    )
    kind = "chosen" if trial.chosen else "stopped" if trial.stopped else "finished"
    lines = f'<path class="reach" d="{path}"/><path class="line" d="{path}"/>'  # the first is easier to hit
    return mark(lines + end, (trial.name, *trial.details), kind)
