"""Pictures inside a page, and their marks, which say what they are when they are pointed at or reached by keyboard."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def picture(kind: str, width: float, height: float, description: str, parts: Sequence[str]) -> str:
    """Return a whole plot; ``description`` is its text alternative."""
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
