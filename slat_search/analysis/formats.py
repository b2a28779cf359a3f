"""Tables as Markdown, as LaTeX and as CSV, in which no name becomes markup, a command or a formula; sizes and times."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from ..files import without_formula

_UNITS = ("B", "kB", "MB", "GB", "TB")
_LATEX = {
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
}


def to_markdown(frame: pd.DataFrame) -> str:
    """A pipe table, numbers to the right; a cell stays in its column and on its line, whatever is in it."""
    lines = [[_cell(cell) for cell in line] for line in [list(frame.columns), *frame.astype(str).values.tolist()]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(frame.columns))]

    def row(cells: list[str]) -> str:
        first, *rest = cells
        padded = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(("-" * (w + 2)) if i == 0 else ("-" * (w + 1) + ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([row(lines[0]), rule, *map(row, lines[1:])]) + "\n"


def _cell(value: Any) -> str:
    return in_markdown(str(value).replace("\\", "\\\\")).replace("|", r"\|")


def in_markdown(text: str) -> str:
    """Return a text on one line in which Markdown reads no HTML, entity or link; ``**bold**`` stays bold."""
    line = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.splitlines()))
    return line.replace("<", "&lt;").replace("](", "]\\(")


def to_csv(frame: pd.DataFrame) -> str:
    """CSV in which no text is a formula, see :func:`.without_formula`; :func:`.read_csv` takes it off."""
    columns = {without_formula(str(name)): _without_formulas(column) for name, column in frame.items()}
    return pd.DataFrame(columns, index=frame.index).to_csv(index=False)


def _without_formulas(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.map(lambda cell: without_formula(cell.replace("\r", " ")) if isinstance(cell, str) else cell)


def to_latex(frame: pd.DataFrame) -> str:
    """A booktabs table; special characters escaped, ± and ≈ in math mode, ``**bold**`` in bold type."""
    escape = str.maketrans({**{c: f"\\{c}" for c in "%_&#${}"}, **_LATEX, "\n": " ", "\r": " "})
    lines = [list(frame.columns), *frame.values.tolist()]
    rows = [[re.sub(r"\*\*(.+?)\*\*", r"\\textbf{\1}", str(cell).translate(escape)) for cell in line] for line in lines]
    body = "\n".join(" & ".join(line) + r" \\" for line in rows[1:])
    columns = "l" + "r" * (len(frame.columns) - 1)
    header = " & ".join(rows[0]) + r" \\"
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{header}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def in_bytes(size: float) -> str:
    """Return a number of bytes in the unit that suits it, such as ``6.6 MB``."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if size >= 10 or not unit else f"{size:.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a time as people say it, such as ``13 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
