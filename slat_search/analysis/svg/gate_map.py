"""What a structure keeps: a grid of blocks by modules, a square a rank, hidden unit, norm or bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from .axes import mark, picture

#: in the order in which a cell shows them
KINDS = {
    "lora": "LoRA rank",
    "parallel": "parallel unit",
    "serial": "serial unit",
    "norm": "norm",
    "bias": "bias",
    "ia3": "IA3",
}
_CELL, _ROW, _LEFT, _FOOT = 84, 30, 46, 74
_UNIT, _GAP, _ROWS = 8.0, 2.0, 2  # of a square; they get smaller where a cell holds more


def gate_map(modules: Sequence[Mapping[str, Any]], layers: int, columns: Sequence[str], name: str) -> Markup:
    """One structure.

    Args:
        modules: those of its JSON: ``layer name kind size params``.
        layers: blocks of the model; the last one is on top.
        columns: paths of the places inside a block.
        name: of the structure.
    """
    cells: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for module in sorted(modules, key=lambda module: list(KINDS).index(module["kind"])):
        column = columns.index(module["name"].split(f".{module['layer']}.", 1)[1])
        cells.setdefault((module["layer"], column), []).append(module)
    width, height = _LEFT + _CELL * len(columns) + 8, _ROW * layers + _FOOT
    parts = [_grid(layers, columns)]
    for (layer, column), held in sorted(cells.items()):
        where = f"block {layer}, {columns[column]}"
        params = sum(module["params"] for module in held)
        lines = (where, *(_words(module) for module in held), f"{params:,} parameters")
        parts.append(mark(_squares(held, _LEFT + column * _CELL, (layers - 1 - layer) * _ROW), lines, "cell"))
    description = f"{name}: blocks from the last down to the first, and the places in each; what is kept is named"
    return Markup(picture("gates", width, height, description, parts))


def gate_map_legend() -> Markup:
    """What the colours mean."""
    keys = (f'<span><i class="unit-{kind}"></i>{escape(words)}</span>' for kind, words in KINDS.items())
    return Markup(f'<p class="legend">{"".join(keys)}</p>')


def _words(module: Mapping[str, Any]) -> str:
    size = module["size"]
    return f"{size} {KINDS[module['kind']]}{'s' if size > 1 else ''}"


def _squares(held: Sequence[Mapping[str, Any]], x: float, y: float) -> str:
    """A white field that can be pointed at, and the squares in it, left to right in one or two rows."""
    kinds = [
        module["kind"] for kind in KINDS for module in held if module["kind"] == kind for _ in range(module["size"])
    ]
    across = max(-(-len(kinds) // _ROWS), int((_CELL - 6) // (_UNIT + _GAP)))
    pitch = min(_UNIT + _GAP, (_CELL - 6) / across)
    side = pitch * _UNIT / (_UNIT + _GAP)
    used = -(-len(kinds) // across)
    top = y + (_ROW - used * pitch) / 2
    parts = [f'<rect class="field" x="{x}" y="{y}" width="{_CELL}" height="{_ROW}"/>']
    for place, kind in enumerate(kinds):
        row, column = divmod(place, across)
        parts.append(
            f'<rect class="unit-{kind}" x="{x + 4 + column * pitch:.1f}" y="{top + row * pitch:.1f}" '
            f'width="{side:.1f}" height="{side:.1f}"/>'
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
    """A path without the words that say nothing."""
    return ".".join(part for part in path.split(".") if part not in ("self", "layer"))
