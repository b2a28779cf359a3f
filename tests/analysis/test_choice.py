"""What a run recommends, and in which words."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from slat_search.analysis.choice import notes, recommended, verdict
from slat_search.analysis.report import analyse
from slat_search.run_folder import RunFolder
from tests.analysis.made import EVIL, answer_of

METHODS = pd.DataFrame(
    {
        "method": ["a", "b", "c", "lora", "head"],
        "name": ["SLAT a", "SLAT b", "SLAT c", "LoRA", "linear head"],
        "family": ["slat", "slat", "slat", "baseline", "baseline"],
        "params": [10, 100, 1000, 500, 0],
        "validation": [0.8, 0.89, 0.9, 0.88, 0.7],
    }
)


def test_recommended_is_the_smallest_within_tolerance() -> None:
    for tolerance, params in ((0.0, 1000), (0.01, 100), (0.1, 10), (0.5, 0)):
        row = recommended(METHODS, tolerance)
        assert row is not None
        assert row["params"] == params
    assert recommended(METHODS[:0], 0.1) is None


@pytest.mark.parametrize(
    ("validation", "begins", "told"),
    [
        ([0.8, 0.89, 0.9, 0.88, 0.7], "SLAT b is recommended: it is the smallest of all methods within 0.01 of", {}),
        (
            [0.8, 0.85, 0.86, 0.9, 0.7],
            "No found structure is recommended, but LoRA, which is hand-made: it is the smallest",
            {
                "lora": "this is hand-made: no found structure is as small and within the tolerance",
                "c": "LoRA is better on validation (0.900 against 0.860)",
            },
        ),
        (
            [0.8, 0.85, 0.86, 0.88, 0.9],
            "No adapter is recommended, but the bare head (linear head): in validation accuracy no method is above its",
            {
                "head": "this is the bare head: nothing is adapted in the model",
                "c": "the bare head alone is as good on validation (0.900 against 0.860); linear head is better on",
            },
        ),
        (
            [0.8, 0.905, 0.86, 0.88, 0.9],
            "No adapter is recommended, but the bare head (linear head): in validation accuracy no method is more than "
            "0.01 above its 0.900 (the best, SLAT b, has 0.905)",
            {"head": "this is the bare head: nothing is adapted in the model"},
        ),
    ],
)
def test_the_verdict_is_the_same_whichever_side_wins(
    validation: list[float], begins: str, told: dict[str, str]
) -> None:
    table = METHODS.assign(validation=validation)
    assert verdict(table, 0.01, "accuracy").startswith(begins)
    result = notes(table, 0.01)
    for label, note in told.items():
        assert result[label].startswith(note)
    chosen = recommended(table, 0.01)
    assert chosen is not None
    assert (chosen["method"] in result) == (chosen["family"] != "slat")


def test_the_answer_names_both_sides(folder: RunFolder) -> None:
    analyse(folder)
    answer = answer_of(folder)
    headline, details = answer.split("\n\n")
    assert headline.startswith(
        f"Use LoRA & co, a hand-made method: test accuracy is 0.800 against 0.800 of SLAT {EVIL}, with 7.8 times its "
        "parameters; the difference of "
    )
    assert re.search(r"may be chance \(95 % -\S+ to \+\S+\)\.$", headline)
    assert details.startswith(
        "No found structure is recommended, but LoRA & co, which is hand-made: it is the smallest "
    )
    assert "It reaches 0.800 on test with 500 adapter parameters (50.000 % of the backbone)" in answer
    assert "with 64 adapter parameters (6.400 % of the backbone)" in answer
    assert "LoRA & co is better on validation (0.825 against 0.805)" in answer
    assert (
        "Against LoRA & co, the baseline that is best on validation, with 0.800 and 500 parameters, 7.8 times" in answer
    )


def test_a_run_whose_found_structures_all_diverged(folder: RunFolder) -> None:
    selection = json.loads((folder / "selection.json").read_text())
    selection["finals"] = [final for final in selection["finals"] if final["label"] == "lora"]
    (folder / "selection.json").write_text(json.dumps(selection))
    (folder / "structures" / "slat-a.json").unlink()
    table, _ = analyse(folder)
    assert table["method"].tolist() == ["lora"]
    assert answer_of(folder).startswith("Use LoRA & co, a hand-made method: test accuracy is 0.800 with 500 adapter")
    assert answer_of(folder).endswith("No structure that the search found could be trained.")


def test_full_fine_tuning_is_the_ceiling_and_not_the_rival(folder: RunFolder) -> None:
    for path in (folder / "units").glob("lora-*.train.json"):
        trained = json.loads(path.read_text())
        path.write_text(json.dumps({**trained, "params": 1000}))
    analyse(folder)
    answer = answer_of(folder)
    assert answer.startswith(
        f"Use SLAT {EVIL}: it keeps all of the test accuracy of LoRA & co (0.800 against 0.800) with 6.4 % of its "
    )
    assert f"\n\nSLAT {EVIL} is recommended: it is the smallest of all methods within 0.01 of" in answer
    assert f"SLAT {EVIL} is at 100.0% of LoRA & co (0.800)." in answer
    assert "Against" not in answer
