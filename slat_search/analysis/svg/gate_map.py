"""Draw a structure: a grid of blocks by modules, a square a rank, hidden unit, norm or bias, a map a core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from ...structure.kinds import KINDS
from .core_map import Frame, core_map, directions
from .marks import mark, picture

_CELL, _ROW, _LEFT, _FOOT = 84, 30, 46, 74
_UNIT, _GAP, _ROWS = 8.0, 2.0, 2  # of a square; they get smaller where a cell holds more
_MARGIN, _CORE = 4, 24  # of a cell, and the side of a core in it


def gate_map(modules: Sequence[Mapping[str, Any]], layers: int, columns: Sequence[str], name: str) -> Markup:
    """One structure.

    Args:
        modules: those of its JSON: ``layer name kind size params``, and ``entries`` of spectral cores. All cores are
            drawn among as many leading directions as the widest one needs.
        layers: blocks of the model; the last one is on top.
        columns: paths of the places inside a block.
        name: of the structure.
    """
    cells: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for module in sorted(modules, key=lambda module: _place(module["kind"])):
        column = columns.index(module["name"].split(f".{module['layer']}.", 1)[1])
        cells.setdefault((module["layer"], column), []).append(module)
    width, height = _LEFT + _CELL * len(columns) + 8, _ROW * layers + _FOOT
    parts = [_grid(layers, columns)]
    frame = Frame.of(modules)
    for (layer, column), held in sorted(cells.items()):
        where = f"block {layer}, {columns[column]}"
        params = sum(module["params"] for module in held)
        total = f"{params:,} parameter{'' if params == 1 else 's'}"
        lines = (where, *(_words(module) for module in held), total)
        drawn = _content(held, frame, _LEFT + column * _CELL, (layers - 1 - layer) * _ROW)
        parts.append(mark(drawn, lines, "cell"))
    description = f"{name}: blocks from the last down to the first, and the places in each; what is kept is named"
    return Markup(picture("gates", width, height, description, parts))


def gate_map_legend(modules: Iterable[Mapping[str, Any]] = ()) -> Markup:
    """Return the legend of the colors; kinds of ``modules`` that are not among the known ones are named too, and maps
    of cores explained where there are some."""
    modules = list(modules)
    known = [(_color(name), kind.title) for name, kind in KINDS.items()]
    others = dict.fromkeys(module["kind"] for module in modules if module["kind"] not in KINDS)
    keys = [*known, *((_color(kind), _name(kind)) for kind in others)]
    spans = "".join(f'<span><i class="{colour}"></i>{escape(words)}</span>' for colour, words in keys)
    if directions(entry for module in modules for entry in module.get("entries", ())):
        spans += "In the map of a core, left directions run down and right ones across, leading ones first."
    return Markup(f'<p class="legend">{spans}</p>')


def kind_styles() -> Markup:
    """Return the style sheet of the registered kinds' colors, for light and dark pages."""
    rules = [f".unit-{kind.name} {{ {_painted(kind.color)} }}" for kind in KINDS.values() if kind.color]
    dark = [f".unit-{kind.name} {{ {_painted(kind.dark_color)} }}" for kind in KINDS.values() if kind.dark_color]
    return Markup("\n".join([*rules, f"@media (prefers-color-scheme: dark) {{ {' '.join(dark)} }}"]))


def _painted(color: str) -> str:
    return f"fill: {color}; background: {color};"


def _color(kind: str) -> str:
    """Return the class of a kind's color; kinds without one share a gray."""
    return f"unit-{kind}" if kind in KINDS and KINDS[kind].color else "unit-other"


def _place(kind: str) -> int:
    return list(KINDS).index(kind) if kind in KINDS else len(KINDS)


def _name(kind: str) -> str:
    return KINDS[kind].title if kind in KINDS else f"{kind} unit"


def _words(module: Mapping[str, Any]) -> str:
    size, name = module["size"], _name(module["kind"])
    if size > 1:
        name = f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"
    among = f" among the {directions(module['entries'])} leading directions" if module.get("entries") else ""
    return f"{size} {name}{among}"


def _content(held: Sequence[Mapping[str, Any]], frame: Frame, x: float, y: float) -> str:
    """A white field that can be pointed at, a map of the core in it, and squares for all other units."""
    parts = [f'<rect class="field" x="{x}" y="{y}" width="{_CELL}" height="{_ROW}"/>']
    left = x + _MARGIN
    for core in [module for module in held if module.get("entries")]:
        parts.append(core_map(core["entries"], frame, left, y + (_ROW - _CORE) / 2, _CORE))
        left += _CORE + _MARGIN
    kinds = [module["kind"] for module in held if not module.get("entries") for _ in range(module["size"])]
    parts.append(_squares(kinds, left, x + _CELL - 2, y))
    return "".join(parts)


def _squares(kinds: Sequence[str], left: float, right: float, y: float) -> str:
    """A square a unit, left to right in one or two rows."""
    room = right - left
    across = max(-(-len(kinds) // _ROWS), int(room // (_UNIT + _GAP)))
    pitch = min(_UNIT + _GAP, room / across)
    side = pitch * _UNIT / (_UNIT + _GAP)
    top = y + (_ROW - -(-len(kinds) // across) * pitch) / 2
    parts = []
    for place, kind in enumerate(kinds):
        row, column = divmod(place, across)
        parts.append(
            f'<rect class="{_color(kind)}" x="{left + column * pitch:.1f}" '
            f'y="{top + row * pitch:.1f}" width="{side:.1f}" height="{side:.1f}"/>'
        )
    return "".join(parts)


def _grid(layers: int, columns: Sequence[str]) -> str:
    end, floor = _LEFT + _CELL * len(columns), _ROW * layers
    lines = [f"M{_LEFT} {row * _ROW}H{end}" for row in range(layers + 1)]
    lines += [f"M{_LEFT + i * _CELL} 0V{floor}" for i in range(len(columns) + 1)]
    parts = [f'<path class="grid" d="{"".join(lines)}"/>']
    for layer in range(layers):
        y = (layers - 0.5 - layer) * _ROW + 4
        parts.append(f'<text class="tick" text-anchor="end" x="{_LEFT - 6}" y="{y}">{layer}</text>')
    parts.append(
        f'<text class="axis" text-anchor="middle" transform="translate(13 {floor / 2}) rotate(-90)">block</text>'
    )
    for i, column in enumerate(columns):
        x = _LEFT + (i + 0.6) * _CELL
        words = escape(_short(column))
        parts.append(
            f'<text class="tick" text-anchor="end" transform="translate({x} {floor + 14}) rotate(-18)">{words}</text>'
        )
    return "".join(parts)


def _short(path: str) -> str:
    """Path without ``self`` and ``layer``."""
    return ".".join(part for part in path.split(".") if part not in ("self", "layer"))
