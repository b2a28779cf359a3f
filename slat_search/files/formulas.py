"""Protection from text in CSV that a spreadsheet would run as a formula.

As OWASP recommends (https://owasp.org/www-community/attacks/CSV_Injection), a cell that begins with ``=``, ``+``,
``-``, ``@``, a tab or a carriage return is prefixed with an apostrophe. Numbers are unchanged.
"""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def without_formula(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def with_formula(cell: str) -> str:
    """Return the original cell from the result of :func:`without_formula`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
