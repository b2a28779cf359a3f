"""Plain lines of standard input: what is one text each, and which line is at fault."""

from __future__ import annotations

import pytest

from slat_search import SlatError
from slat_search.tasks.stream import read_stream


def test_a_byte_order_mark_is_no_part_of_a_text() -> None:
    assert read_stream("\ufeffA win\nA loss\n".encode(), ["text"]).values("text") == ["A win", "A loss"]


def test_of_lines_the_one_that_is_no_utf_8_is_named() -> None:
    with pytest.raises(SlatError, match=r"--file: cannot read standard input: line 2 is not UTF-8"):
        read_stream(b"A win\nA l\xf6ss\n", ["text"])
