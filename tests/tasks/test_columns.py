"""Which columns are texts and which one is the label, from names and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from slat_search import SlatError
from slat_search.tasks.columns import Columns, columns_in
from slat_search.tasks.rows import Rows

SENTENCES = [f"a short text on the matter number {i} of many" for i in range(60)]
LONGER = [f"and a much longer text that tells more of the matter number {i}, in so many words" for i in range(60)]


def told(columns: dict[str, Any], text: Sequence[str] = (), label: str | None = None) -> Columns:
    return columns_in(Rows("mine.csv", columns), text, label)


def over(*labels: Any) -> list[Any]:
    """So many rows, the labels by turns."""
    return [labels[i % len(labels)] for i in range(60)]


@pytest.mark.parametrize(
    ("columns", "text", "label"),
    [
        ({"text": SENTENCES, "label": over("a", "b")}, ("text",), "label"),
        ({"label": over("a", "b"), "Review": SENTENCES}, ("Review",), "label"),
        ({"id": range(60), "words": SENTENCES, "kind": over("a", "b", "c")}, ("words",), "kind"),
        ({"premise": SENTENCES, "hypothesis": LONGER, "label": over(0, 1, 2)}, ("premise", "hypothesis"), "label"),
        ({"title": SENTENCES, "text": LONGER, "target": over(0, 1)}, ("text",), "target"),
        ({"one": SENTENCES, "two": LONGER, "sort": over("x", "y")}, ("two",), "sort"),
        ({"source": over("web", "print"), "said": SENTENCES, "sentiment": over(0, 1)}, ("said",), "sentiment"),
        ({"said": SENTENCES, "row": range(60), "worth": over(0.5, 1.25, 3.0)}, ("said",), "worth"),
        ({"said": SENTENCES, "row": [*map(str, range(60))], "worth": over("0.5", "1.25")}, ("said",), "worth"),
    ],
)
def test_columns_are_told_by_name_and_value(columns: dict[str, Any], text: tuple[str, ...], label: str) -> None:
    result = told(columns)
    assert (result.text, result.label) == (text, label)


def test_columns_that_are_given_are_taken() -> None:
    result = told({"one": SENTENCES, "two": LONGER, "a": over(0, 1), "b": over(1, 2, 3)}, ["one"], "b")
    assert (result.text, result.label, result.others) == (("one",), "b", ("two",))
    assert result.counts == {"1": 20, "2": 20, "3": 20}


@pytest.mark.parametrize(
    ("labels", "metric", "positive"),
    [
        (over("a", "b"), "accuracy", None),
        (["rare"] * 6 + ["often"] * 54, "f1", "rare"),
        (["1"] * 6 + ["0"] * 54, "f1", "1"),
        (["a"] * 40 + ["b"] * 15 + ["c"] * 5, "macro_f1", None),
        (over(1, 2, 3, 4, 5), "accuracy", None),
        ([*range(60)], "pearson", None),
        ([i / 4 for i in range(60)], "pearson", None),
        ([f"{i / 4}" for i in range(60)], "pearson", None),
        (over(1.0, 2.0), "accuracy", None),  # as pandas writes classes
        (over("1", "nan", "2"), "accuracy", None),  # no numbers to learn, so classes
        (over("inf", "1.5"), "accuracy", None),
        (over(float("inf"), 1.0), "accuracy", None),
    ],
)
def test_the_metric_fits_the_labels(labels: list[Any], metric: str, positive: str | None) -> None:
    result = told({"text": SENTENCES, "label": labels})
    assert (result.metric, result.positive) == (metric, positive)
    assert bool(result.counts) == (metric != "pearson")


def test_words_of_a_pair_are_counted_together() -> None:
    both = told({"sentence1": SENTENCES, "sentence2": LONGER, "label": over(0, 1)})
    first = told({"sentence1": SENTENCES, "label": over(0, 1)}, ["sentence1"])
    assert both.words == first.words + len(LONGER[0].split())


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        (
            {"text": SENTENCES, "other": LONGER},
            {},
            "--label: no column of mine.csv looks like labels; name one of text",
        ),
        ({"x": over(1, 2), "label": over(0, 1)}, {}, "--text: no column of mine.csv looks like texts; name one of x"),
        ({"text": SENTENCES}, {"label": "topic"}, "--label: mine.csv has no column 'topic'; it has text"),
        ({"text": SENTENCES, "a": over(None, " ")}, {"label": "a"}, "--label: column 'a' of mine.csv holds no value"),
        ({"text": SENTENCES}, {"text": ["body"]}, "--text: mine.csv has no column 'body'; it has text"),
    ],
)
def test_what_cannot_be_told_is_asked_for(columns: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(SlatError) as caught:
        told(columns, **given)
    assert str(caught.value).startswith(message)
