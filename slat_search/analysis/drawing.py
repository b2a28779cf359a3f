"""A figure is drawn once, by matplotlib: as PNG in a folder, and as SVG inside a page.

In a page its inks are those of the page, light or dark, and its marks answer to pointer and keyboard.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..files import whole_file
from .svg.marks import mark, picture

#: Okabe and Ito's colors, which color-blind readers can tell apart
FOUND, BASELINE = "#0072B2", "#D55E00"
GRAY = "#888888"
_INKS = {
    FOUND.lower(): "var(--found)",
    BASELINE.lower(): "var(--base)",
    "#e69f00": "var(--amber)",
    "#56b4e9": "var(--sky)",
    "#009e73": "var(--green)",
    "#cc79a7": "var(--pink)",
    "#000000": "var(--ink)",
    GRAY: "var(--soft)",
    "#b0b0b0": "var(--soft)",  # of the grid
}
_WIDTH, _HEIGHT = 410, 320  # of a panel, in points of paper and pixels of a page: a phone shows it at nearly its size
_LEFT, _TOP, _BOTTOM = 62, 26, 50  # around its axes
_ACROSS = 3  # panels side by side, at most
NAMES = 84  # to their right, where names stand
LETTER = 7.0  # width of a letter of a name, at most on the mean
FONT = 12.5  # size of names
#: line from a mark to a name that stands apart from it, as ``arrowprops``
LEADER = {"arrowstyle": "-", "linewidth": 0.9, "shrinkA": 2, "shrinkB": 5}
matplotlib.rcParams.update(
    {"savefig.dpi": 140, "font.size": 12.5, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 13}
    | {"svg.fonttype": "none"}
)


@dataclass(frozen=True)
class Mark:
    """Part of a figure that can be pointed at: the artists whose ``gid`` is ``mark-`` and its place among the marks.
    Those whose ``gid`` ends in ``-band`` are shown only then.

    Attributes:
        lines: shown then; the first is its name.
        kind: class of it, for the style sheet.
        target: id of an element of the page that a click leads to.
    """

    lines: Sequence[str]
    kind: str = ""
    target: str = ""


#: draws into axes, whose place is final, and returns its marks, numbered from the given one
Panel = Callable[[Axes, int], list[Mark]]


def subplots(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """A figure of ``size`` inches, and its axes as ``matplotlib`` returns them."""
    figure = Figure(figsize=size)
    return figure, figure.subplots(rows, columns, **options)


def in_rows(panels: Sequence[Panel], left: int = _LEFT, right: int = NAMES) -> tuple[Figure, list[Mark]]:
    """Draw panels in rows of three, with room to the ``left`` and ``right`` of each; returns the marks of all."""
    columns, marks = min(len(panels), _ACROSS), list[Mark]()
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(columns * _WIDTH / 72, rows * _HEIGHT / 72), dpi=72)
    figure.add_artist(Rectangle((0, 0), 1, 1, fill=False, linewidth=0))  # its edges are no margin to be cut off
    width, height = (_WIDTH - left - right) / _WIDTH / columns, (_HEIGHT - _TOP - _BOTTOM) / _HEIGHT / rows
    for place, draw in enumerate(panels):
        row, column = divmod(place, columns)
        corner = ((column + left / _WIDTH) / columns, (rows - 1 - row + _BOTTOM / _HEIGHT) / rows)
        axis = figure.add_axes((*corner, width, height))
        axis.grid(alpha=0.25)
        marks += draw(axis, len(marks))
    return figure, marks


def on_page(
    panels: Sequence[Panel], kind: str, description: str, left: int = _LEFT, right: int = NAMES
) -> list[Markup]:
    """Return a plot for each panel, as wide as a phone; its words begin with what it shows."""
    plots = []
    for panel in panels:
        figure, marks = in_rows([panel], left, right)
        axis = figure.axes[0]
        shown = ", ".join(filter(None, (axis.get_ylabel(), axis.get_title(loc="left"))))
        plots.append(inline(figure, f"{shown} {description}", kind, marks))
    return plots


def save(folder: Path, figures: Mapping[str, Figure]) -> None:
    """Write each figure as PNG under its name."""
    for name, figure in figures.items():
        with whole_file(folder / f"{name}.png") as part:
            figure.savefig(part, format="png", bbox_inches="tight")


def inline(figure: Figure, description: str, kind: str = "", marks: Sequence[Mark] = ()) -> Markup:
    """SVG of a figure for the inside of a page; ``description`` is for those who do not see it."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "slat"}):
        figure.savefig(file, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    digest = hashlib.sha256(file.getvalue().encode()).hexdigest()[:8]
    text = re.sub(r'(url\(#|xlink:href="#|id=")([mp][0-9a-f]{10})\b', rf"\g<1>{digest}\2", file.getvalue())
    root = ElementTree.fromstring(text)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for part in root.iter():  # HTML knows no namespaces
        part.tag = re.sub("{.*}", "", part.tag)
        if (use := part.attrib.pop("{http://www.w3.org/1999/xlink}href", None)) is not None:
            part.set("href", use)
        if style := re.sub("font-family: [^;]*(; )?", "", part.attrib.pop("style", "")):
            part.set("style", re.sub("#[0-9a-f]{6}", lambda color: _INKS.get(color[0], color[0]), style))
        if not re.match(rf"{digest}|mark-", part.get("id", "")):
            part.attrib.pop("id", None)
    _mark(root, marks)
    content = [_written(part) for part in root if part.tag in ("g", "defs") and part.find("style") is None]
    drawn = picture(f"drawn {kind}", width, height, description, content)
    return Markup(drawn.replace("<svg", f'<svg style="--most: {1.2 * width:.0f}px"', 1))


def _mark(root: ElementTree.Element, marks: Sequence[Mark]) -> None:
    """Put the parts of each mark together, in the place of the last, and say what they are."""
    parts: dict[int, list[tuple[ElementTree.Element, ElementTree.Element]]] = {}
    for parent in root.iter():
        for part in parent:
            if part.get("id", "").startswith("mark-"):
                _, number, *band = part.attrib.pop("id").split("-")
                if band:
                    part.set("class", band[0])
                parts.setdefault(int(number), []).append((parent, part))
    for which, found in parts.items():
        its, (parent, last) = marks[which], found[-1]
        place = list(parent).index(last)
        content = "".join(_written(part) for _, part in found)
        for holder, part in found[:-1]:
            holder.remove(part)
            place -= holder is parent
        parent.remove(last)
        marked = mark(content, its.lines, its.kind, its.target).replace("\n", "&#10;")  # else XML reads a space
        parent.insert(place, ElementTree.fromstring(marked))


def _written(part: ElementTree.Element) -> str:
    return ElementTree.tostring(part, encoding="unicode")
