"""Tables as Markdown and LaTeX."""

from __future__ import annotations

import re

import pandas as pd

from slat_search.analysis.formats import to_latex, to_markdown


def test_markdown_cells_stay_in_their_columns() -> None:
    table = to_markdown(pd.DataFrame({"method|s": ["a|b", "two\nlines", "back\\|slash"], "n": ["1", "2", "3"]}))
    lines = table.splitlines()
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {3}
    assert "a\\|b" in lines[2]
    assert "two lines" in lines[3]
    assert {len(line) for line in lines} == {len(lines[0])}


def test_latex_is_escaped() -> None:
    assert r"50\% \& a\_b" in to_latex(pd.DataFrame({"x": ["50% & a_b"]}))
