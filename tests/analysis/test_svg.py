"""Gate maps, methods, search histories and overlaps: what is drawn is what the tables and the JSON say."""

from __future__ import annotations

import itertools
import json
import re
from functools import partial
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from slat_search.analysis.curves import NAMED, Line, curves
from slat_search.analysis.drawing import GRAY, LETTER, in_rows, inline, save
from slat_search.analysis.labels import Box, Label, apart, labels
from slat_search.analysis.overlap import overlaps
from slat_search.analysis.panels import Point, Progress, history, log_size, scatter, sizes
from slat_search.analysis.shared import part_of
from slat_search.analysis.svg import gate_map, gate_map_legend
from slat_search.analysis.svg.core_map import Frame
from slat_search.structure import (
    Candidate,
    ModuleOptions,
    SharedStructure,
    Site,
    Space,
    Structure,
)
from slat_search.structure.structure import ModuleSpec

COLUMNS = ["attention.self.query", "output.LayerNorm"]
SITES = tuple(
    Site(layer, f"encoder.layer.{layer}.{column}", role, 8, 8)
    for layer in range(3)
    for column, role in zip(COLUMNS, ("q", "norm"), strict=True)
)


def as_json(structure: Structure) -> dict:
    return json.loads(structure.to_json())


def tips(plot: str) -> list[list[str]]:
    return [unescape(tip).split("\n") for tip in re.findall(r'data-tip="([^"]*)"', plot)]


def test_a_gate_map_has_a_square_a_unit_and_says_what_each_cell_holds() -> None:
    structure = Structure(
        (ModuleSpec(SITES[0], "lora", 3), ModuleSpec(SITES[0], "bias"), ModuleSpec(SITES[5], "norm")), ModuleOptions()
    )
    plot = gate_map(as_json(structure)["modules"], 3, COLUMNS, "one")
    drawn = {kind: len(re.findall(f'class="unit-{kind}"', plot)) for kind in ("lora", "bias", "norm", "serial")}
    assert drawn == {"lora": 3, "bias": 1, "norm": 1, "serial": 0}
    assert tips(plot) == [
        ["block 0, attention.self.query", "3 LoRA ranks", "1 bias", "56 parameters"],
        ["block 2, output.LayerNorm", "1 norm", "16 parameters"],
    ]


@pytest.mark.parametrize("rank", [1, 16, 64, 400])
def test_squares_of_any_number_stay_in_their_cell(rank: int) -> None:
    plot = gate_map(as_json(Structure((ModuleSpec(SITES[0], "lora", rank),)))["modules"], 3, COLUMNS, "one")
    squares = [
        tuple(float(v) for v in found)
        for found in re.findall(r'class="unit-lora" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', plot)
    ]
    field = re.search(r'class="field" x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', plot)
    assert field is not None
    left, top, width, height = map(float, field.groups())
    assert len(squares) == rank
    assert all(left <= x and x + w <= left + width for x, _, w, _ in squares)
    assert all(top <= y and y + h <= top + height for _, y, _, h in squares)


def core(site: Site, *entries: tuple[int, int]) -> ModuleSpec:
    return ModuleSpec(site, "spectral", len(entries), entries)


def corners(plot: str) -> list[list[tuple[float, float]]]:
    """Of the cells of each core: x and y, from the core's own corner."""
    collected = []
    for x, y, drawn in re.findall(
        r'class="core" x="([\d.]+)" y="([\d.]+)"[^>]*/>((?:<path class="unit-spectral"[^>]*>)*)', plot
    ):
        places = re.findall(r"M([\d.]+) ([\d.]+)", drawn)
        collected.append(sorted((float(a) - float(x), float(b) - float(y)) for a, b in places))
    return collected


def test_a_core_is_drawn_at_its_entries_in_a_frame_that_all_cores_share() -> None:
    structure = Structure(
        (core(SITES[0], (0, 0), (0, 3), (2, 1)), core(SITES[2], (1, 1)), ModuleSpec(SITES[0], "bias"))
    )
    plot = gate_map(as_json(structure)["modules"], 3, COLUMNS, "one")
    assert corners(plot) == [[(0, 0), (6, 12), (18, 0)], [(6, 6)]]  # four directions in 24 units: column is j, row is i
    assert tips(plot) == [
        [
            "block 0, attention.self.query",
            "3 spectral entries among the 4 leading directions",
            "1 bias",
            "11 parameters",
        ],
        ["block 1, attention.self.query", "1 spectral entry among the 2 leading directions", "1 parameter"],
    ]
    words = "left directions run down"
    assert words in gate_map_legend(as_json(structure)["modules"])
    assert words not in gate_map_legend(as_json(Structure.bitfit(SITES))["modules"])
    (square,) = re.findall(r'class="unit-bias" x="([\d.]+)"', plot)
    (right,) = {float(x) + 24 for x in re.findall(r'class="core" x="([\d.]+)"', plot)}
    assert float(square) > right


def test_entries_of_many_directions_share_cells_that_say_how_many_there_are() -> None:
    frame = Frame.of([{"entries": [(0, 0), (1, 2), (2, 2), (31, 31), (30, 0)]}, {"entries": [(5, 5)]}, {"size": 3}])
    assert (frame.directions, frame.width, frame.most) == (32, 3, 3)
    assert frame.counts([(0, 0), (1, 2), (31, 30)]) == {(0, 0): 2, (10, 10): 1}
    two, one = core(SITES[0], (0, 0), (0, 1)), core(SITES[2], (3, 3))
    raw = as_json(Structure((two, one)))["modules"]
    raw[1]["entries"] = [[30, 30]]
    opacity = re.findall(r'fill-opacity="([\d.]+)"', gate_map(raw, 3, COLUMNS, "one"))
    assert opacity == ["1.00", "0.62"]  # the fullest cell of the figure is opaque
    wide = Site(0, f"encoder.layer.0.{COLUMNS[0]}", "q", 200, 300)
    plot = gate_map(as_json(Structure.cores([wide], 200))["modules"], 3, COLUMNS, "one")
    assert [len(cells) for cells in corners(plot)] == [13 * 13]
    assert len(plot) < 10_000
    assert max(x for cells in corners(plot) for place in cells for x in place) < 24


def test_a_kind_that_the_map_does_not_know_is_drawn_last_and_named() -> None:
    raw = as_json(Structure((ModuleSpec(SITES[0], "lora", 2), ModuleSpec(SITES[0], "bias"))))["modules"]
    (lora,) = [module for module in raw if module["kind"] == "lora"]
    lora["kind"] = "tied <b>"
    plot = gate_map(raw, 3, COLUMNS, "one")
    assert tips(plot) == [["block 0, attention.self.query", "1 bias", "2 tied <b> units", "40 parameters"]]
    assert re.findall(r'class="unit-(\w+)"', plot) == ["bias", "other", "other"]
    legend = gate_map_legend(raw)
    assert '<i class="unit-other"></i>tied &lt;b&gt; unit<' in legend
    assert '<i class="unit-spectral"></i>spectral entry<' in legend
    assert "unit-other" not in gate_map_legend()


def test_what_a_task_uses_of_a_core_is_drawn_with_its_own_entries() -> None:
    pool = Structure((core(SITES[0], (0, 0), (0, 3), (2, 1)), ModuleSpec(SITES[3], "norm")))
    shared = SharedStructure(("a", "b"), pool, ((0,), (1,), (0, 1), (1,)))
    raw = json.loads(shared.to_json())
    for number, task in enumerate(shared.tasks):
        own_modules = part_of(raw, number)["modules"]
        for module in own_modules:
            del module["users"]
        assert own_modules == as_json(shared.of(task))["modules"]


TRIALS = [
    Progress("trial 0", [10, 20], [5000, 400], stopped=False, chosen=True, details=["params 400"]),
    Progress("trial 1", [10], [80_000], stopped=True, chosen=False, details=["params 80,000"]),
]
METHODS = [
    Point("SLAT <a>", 64, 0.9, 0.85, 0.95, True, ["64 parameters"], 's-"a"'),
    Point("LoRA & #000000", 9000, 0.8, 0.8, 0.8, False, ["9,000 parameters"]),
    Point("head", 0, 0.5, np.nan, np.nan, False),
]


def test_a_history_has_a_line_a_trial_and_the_chosen_ones_on_top() -> None:
    figure, marks = in_rows([partial(history, trials=TRIALS, last=20, ylabel="parameters", counts=True)])
    plot = inline(figure, "what it shows", "history", marks)
    assert tips(plot) == [["trial 1", "params 80,000"], ["trial 0", "params 400"]]
    assert ">1k<" in plot
    (axis,) = figure.axes
    stopped, chosen = (line.get_ydata()[0] for line in axis.lines if line.get_marker() in ("x", "o"))
    assert (stopped, chosen) == (log_size(80_000), log_size(400))


def test_marks_of_a_page_are_whole_and_lead_to_their_structure() -> None:
    """Of a method the mark, its bar and its name; user text stays text."""
    figure, marks = in_rows([partial(scatter, points=METHODS, ylabel="quality")])
    plot = inline(figure, 'of "<b>"', "scatter", marks)
    root = ElementTree.fromstring(plot)
    assert root.attrib["aria-label"] == 'of "<b>"'
    groups = {g.attrib["data-tip"]: g for g in root.iter("g") if "data-tip" in g.attrib}
    assert list(groups) == ["SLAT <a>\n64 parameters", "LoRA & #000000\n9,000 parameters", "head"]
    for tip, group in groups.items():
        assert ["".join(text.itertext()) for text in group.iter("text")] == [tip.split("\n")[0]]
        assert len(list(group.iter("use"))) == 1
        assert ("tabindex" in group.attrib) == (tip[:4] != "SLAT")  # the link around it is reached in its place
    (link,) = root.iter("a")
    assert link.attrib["href"] == '#s-"a"'
    assert link[0] is groups["SLAT <a>\n64 parameters"]


def test_inks_are_those_of_the_page_and_no_two_plots_share_an_id() -> None:
    figure, marks = in_rows([partial(scatter, points=METHODS, ylabel="quality")])
    other, others = in_rows([partial(history, trials=TRIALS, last=20, ylabel="parameters")])
    plots = [inline(figure, "one", "scatter", marks), inline(other, "two", "history", others)]
    for ink in ("found", "base", "soft", "ink"):
        assert f"var(--{ink})" in plots[0]
    assert re.findall(r": #[0-9a-f]{6}", "".join(plots)) == []
    ids = [name for plot in plots for name in re.findall(r' id="([^"]*)"', plot)]
    assert len(ids) == len(set(ids)) > 0
    used = {name for plot in plots for name in re.findall(r'(?:url\(|href=")#([^)"]*)', plot)}
    assert used - {"s-&quot;a&quot;"} == set(ids)


def test_the_page_and_the_file_show_one_figure(tmp_path: Path) -> None:
    """Panels stand one by one on the page and side by side in the file, each as wide as in the other."""
    panels = [partial(scatter, points=METHODS, ylabel=label) for label in ("quality", "retained")]
    both, marks = in_rows(panels)
    assert [mark.lines[0] for mark in marks] == 2 * [point.name for point in METHODS]
    save(tmp_path / "figures", {"pareto": both})
    width, height = Image.open(tmp_path / "figures" / "pareto.png").size
    assert width / height == pytest.approx(2 * 410 / 320, rel=0.05)
    one, _ = in_rows(panels[1:])
    drawn, alone = both.axes[1], one.axes[0]
    assert drawn.bbox.width == pytest.approx(alone.bbox.width)
    assert (drawn.get_xlim(), drawn.get_ylim()) == (alone.get_xlim(), alone.get_ylim())
    assert [text.get_position() for text in drawn.texts] == [pytest.approx(t.get_position()) for t in alone.texts]


def test_steps_are_the_best_value_that_so_many_parameters_reach() -> None:
    worse = Point("worse", 20_000, 0.7, 0.7, 0.7, False)
    figure, _ = in_rows([partial(scatter, points=[*METHODS, worse], ylabel="quality")])
    (steps,) = [line for line in figure.axes[0].lines if line.get_color() == GRAY]
    assert steps.get_ydata().tolist() == [0.5, 0.9, 0.9, 0.9, 0.9]


def test_sizes_are_powers_of_ten_inside() -> None:
    places = {0.0: "0"} | {log_size(10**power): name for power, name in enumerate(("10", "100", "1k", "10k"), 1)}
    assert sizes(log_size(0) - 0.1, log_size(20_000)) == places
    assert list(sizes(log_size(50), log_size(500)).values()) == ["100"]


def test_overlap_is_that_of_the_structures() -> None:
    kinds = {"spectral": Candidate(5), "lora": Candidate(4), "norm": Candidate(1), "bias": Candidate(1)}
    whole = Space(kinds).supernet(SITES)
    drawn = {str(seed): whole.random_part(150, seed) for seed in range(6)} | {"none": Structure(), "all": whole}
    table = overlaps({name: as_json(structure) for name, structure in drawn.items()})
    for one, structure in drawn.items():
        for two, other in drawn.items():
            assert table.loc[one, two] == pytest.approx(structure.overlap(other))
    assert table.loc["none", "all"] == 0


def test_a_long_name_near_the_right_edge_stands_to_the_left_of_its_mark() -> None:
    name = "SLAT 28.8k (trial 1), own weights"
    points = [Point(name, params, 0.8, 0.8, 0.8, True) for params in (10, 100_000)]
    figure, _ = in_rows([partial(scatter, points=points, ylabel="quality")])
    first, second = figure.axes[0].texts
    assert (first.get_ha(), second.get_ha()) == ("left", "right")


INSIDE = Box(60, 15, 560, 335)


def drawn(labeled: list[Label], marks: list[tuple[float, float]]) -> list[Box]:
    """Areas of labels, which lie inside and cover neither marks nor each other."""
    points = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in marks]
    boxes = [label.box for label in labeled]
    for number, box in enumerate(boxes):
        assert box.shared(INSIDE) == pytest.approx(box.size)
        assert all(box.shared(other) == 0 for other in [*points, *boxes[:number]])
    return boxes


@pytest.mark.parametrize("count", [2, 5, 12])
def test_names_cover_neither_marks_nor_each_other(count: int) -> None:
    rng = np.random.default_rng(count)
    marks = [(float(rng.uniform(70, 430)), float(rng.uniform(30, 320))) for _ in range(count)]
    marks[1] = (marks[0][0] + 15, marks[0][1] + 3)  # two that nearly lie on each other
    names = (["SLAT 28.8k (trial 1)", "LoRA r=8", "BitFit"] * 4)[:count]
    placed = labels(names, marks, INSIDE, LETTER)
    drawn(placed, marks)
    assert [label.text for label in placed[:2]] == names[:2]


def test_many_names_on_one_spot_become_numbers_in_a_key() -> None:
    marks = [(300.0 + (i % 3), 170.0 + (i % 2)) for i in range(14)]
    names = [f"a rather long name of a method {i}" for i in range(14)]
    placed = labels(names, marks, INSIDE, LETTER)
    drawn(placed, marks)
    numbers = sorted(int(label.text) for label, name in zip(placed, names, strict=True) if label.text != name)
    assert numbers == list(range(1, len(numbers) + 1))
    assert 4 < len(numbers) < 14
    points = [Point(name, 1000, 0.8, 0.8, 0.8, False) for name in names]
    figure, marks_of_page = in_rows([partial(scatter, points=points, ylabel="quality")])
    plot = inline(figure, "crowded", "scatter", marks_of_page)
    shown = ["".join(text.itertext()) for text in ElementTree.fromstring(plot).iter("text")]
    for name in names:  # each is read beside its mark, or in the key after its number
        assert len([text for text in shown if text.endswith(name)]) == 1
    assert any(re.fullmatch(r"1 +a rather long name of a method \d+", text) for text in shown)


def test_names_of_curves_stand_under_each_other() -> None:
    wanted, heights = [10.0, 11.0, 12.0, 90.0, 200.0], [18.0, 18.0, 32.0, 18.0, 18.0]
    middles = apart(wanted, heights, 0.0, 120.0)
    edges = [(m - h / 2, m + h / 2) for m, h in zip(middles, heights, strict=True)]
    assert all(below[0] >= above[1] - 1e-9 for above, below in itertools.pairwise(edges))
    assert edges[0][0] >= 0
    assert edges[-1][1] <= 120


def test_a_curve_is_one_mark_whose_band_is_shown_when_it_is_pointed_at() -> None:
    points = pd.DataFrame({"x": [0, 20], "quality": [0.9, 0.7], "low": [0.85, 0.6], "high": [0.95, np.nan]})
    lines = [Line(f"method <{i}>", i == 0, points - [0, i / 10, i / 10, i / 10], i) for i in range(7)]
    figure, marks = in_rows([partial(curves, lines=lines, xlabel="words perturbed (%)", ylabel="quality")], right=NAMED)
    root = ElementTree.fromstring(inline(figure, "curves", "curves", marks))
    groups = [g for g in root.iter("g") if "data-tip" in g.attrib]
    assert groups[0].attrib["data-tip"].split("\n")[:2] == ["method <0>", "words perturbed 0 %: 0.900 (0.850 to 0.950)"]
    assert len(groups) == 7
    for number, group in enumerate(groups):
        assert [g.attrib["class"] for g in group if g.attrib.get("class")] == ["band"]
        assert ["".join(text.itertext()) for text in group.iter("text")] == [f"method <{number}>"]
