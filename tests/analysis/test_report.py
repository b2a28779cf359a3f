"""The report of a run whose names try to break out of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from slat_search.analysis.comparison import compare_runs
from slat_search.analysis.data import read_kept, read_results, read_run
from slat_search.analysis.plots import trial_rows
from slat_search.analysis.report import analyse
from slat_search.analysis.tables import comparison
from slat_search.errors import SlatError
from slat_search.run_folder import RunFolder
from slat_search.structure import Structure
from tests.analysis.made import EVIL, SITES, Page, answer_of, unit


def test_user_text_stays_text_and_nothing_is_loaded_from_elsewhere(folder: RunFolder) -> None:
    analyse(folder)
    text = (folder / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]  # the page's own
    assert text.count("&lt;script&gt;") >= 3
    sources = [a.get("src") or a.get("href") or "" for _, a in page.tags if "src" in a or "href" in a]
    assert all(s.startswith(("data:", "#")) for s in sources)
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {s[1:] for s in sources if s.startswith("#")} <= ids
    plots = [a for tag, a in page.tags if tag == "svg"]
    assert len(plots) == 6
    assert all(len(plot["aria-label"]) > 30 for plot in plots)
    assert not re.search(r"\bnan\b", text)
    assert text.count("<style") == 1  # one within a plot would be that of the page


def test_a_page_leads_through_its_parts_and_marks_what_is_recommended(folder: RunFolder) -> None:
    analyse(folder)
    text = (folder / "report.html").read_text()
    contents = re.findall(r'<li><a href="#([^"]+)">(.*?)</a>', text)
    assert contents == re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', text)
    assert {"why", "comparison", "mistakes", "search"} <= {id for id, _ in contents}
    assert text.index('href="#content"') < text.index("<h1>") < text.index('<main id="content">')
    assert re.findall(r'<th scope="row">([^<]*) <span class="badge">recommended', text) == ["LoRA &amp; co"]
    assert "| LoRA & co, recommended |" in re.sub(" +", " ", (folder / "comparison.md").read_text())
    assert len(re.findall("<figure", text)) == len(re.findall("<figcaption", text)) > 4


def test_a_front_that_all_are_on_and_noise_that_is_none_are_left_out(folder: RunFolder) -> None:
    analyse(folder)
    assert "| front |" in (folder / "comparison.md").read_text()
    for path in (folder / "units").glob("lora-*.test.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "quality": 0.9}))
    analyse(folder)
    assert "| front |" not in (folder / "comparison.md").read_text()
    assert ">front<" not in (folder / "report.html").read_text()
    assert "as every method here is" in (folder / "report.html").read_text()
    trials = pd.DataFrame({"trial": [0, 1], "noise_kind": ["none", "word_drop"], "noise_ratio": [0.29, 0.1]})
    assert trial_rows(trials) == [{"trial": "0", "noise": "none"}, {"trial": "1", "noise": "word drop 10%"}]


def test_facts_and_commands_stand_at_the_top(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.root.parent)
    analyse(folder)
    head = (folder / "report.html").read_text().split('<nav class="contents"')[0]
    told = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", head))
    assert told["Task"] == html.escape(EVIL).replace("&#x27;", "&#39;")
    assert (told["Time of all trainings"], told["Latency"]) == ("5 s", "10.0 ms a text in batches")
    assert told["Peak memory of its training"] == "100 MB beyond model and data"
    assert "Date" not in told  # of an earlier version
    assert "slat predict" not in head  # no adapter is kept
    (folder / "adapters" / "lora").mkdir(parents=True)
    environment = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**environment, "date": "2026-11-30"}))
    for path in (folder / "units").glob("*.test.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "seconds_of_one": 0.0123}))
    analyse(folder)
    head = html.unescape((folder / "report.html").read_text().split('<nav class="contents"')[0])
    assert "<dt>Date</dt><dd>2026-11-30</dd>" in head
    assert "12.3 ms a single text, 10.0 ms a text in batches" in head
    for path in (folder / "units").glob("*.train.json"):  # of a system that does not tell
        path.write_text(json.dumps({**json.loads(path.read_text()), "memory": None}))
    analyse(folder)
    assert "Peak memory" not in (folder / "report.html").read_text()
    assert set(read_results(folder, read_run(folder).environment)["memory"].isna()) == {True}
    head = html.unescape(head)
    name = folder.root.name
    assert f'<pre tabindex="0">slat predict {name} --text "TEXT"</pre>' in head
    assert f"slat export {name} --out adapter --format peft" in head
    assert f"slat_search.load('{name}')([\"TEXT\"])" in head


def test_page_and_comparison_tell_chance_by_the_same_test(folder: RunFolder, tmp_path: Path) -> None:
    """Both methods are wrong in the same places but for ten texts: beyond chance when paired, within it when not."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=100)
    for seed in (0, 1):
        right = np.arange(100) % 4 != 0
        for label, gained in (("slat-a", 0), ("lora", 10)):
            result = right | (np.arange(100) < 4 * gained)
            predictions = {
                "labels": labels, "outputs": np.stack([np.where(result, labels, 1 - labels)] * 3),
                "confidence": np.full((3, 100), 0.9, dtype=np.float32),
            }  # fmt: skip
            save_file(predictions, folder / "units" / f"{label}-{seed}.test.safetensors")
            path = folder / "units" / f"{label}-{seed}.test.json"
            tested = json.loads(path.read_text())
            path.write_text(json.dumps({**tested, "quality": float(result.mean())}))
    analyse(folder)
    (low, high) = re.findall(r"-0\.100 \(95 % (\S+) to (\S+), beyond chance\)", answer_of(folder))[0]
    assert 1.96 * np.sqrt(0.75 * 0.25 / 100 + 0.85 * 0.15 / 100) > 0.1  # what an unpaired test would say
    compare_runs([folder.root], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv", keep_default_na=False).set_index("method")
    assert table["mark"].to_dict() == {"LoRA & co": "best", "SLAT, recommended": ""}
    tests = pd.read_csv(tmp_path / "out" / "tests.csv").set_index("method").loc["SLAT, recommended"]
    assert (f"{tests['low']:+.3f}", f"{tests['high']:+.3f}") == (low, high)
    assert tests["p"] < 0.05
    assert tests["over"] == "texts and seeds"


def test_stored_bytes_stand_beside_parameters_where_they_are_known(folder: RunFolder) -> None:
    analyse(folder)
    assert "stored bytes" not in (folder / "comparison.md").read_text()
    stored = pd.read_csv(folder / "results.csv").drop(columns="bytes")
    stored.to_csv(folder / "results.csv", index=False)  # of an earlier version
    assert comparison(read_kept(folder).results)["bytes"].isna().all()
    for seed in (0, 1):
        path = folder / "units" / f"slat-a-{seed}.train.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bytes": 1264}))
    analyse(folder)
    header, _, *rows = (folder / "comparison.md").read_text().splitlines()
    column = [cell.strip() for cell in header.split("|")].index("stored bytes")
    assert [row.split("|")[column].strip() for row in rows] == ["1,264", "-"]
    assert pd.read_csv(folder / "results.csv")["bytes"].tolist()[:2] == [1264, 1264]
    assert pd.read_csv(folder / "comparison.csv")["bytes"].tolist()[0] == 1264


def test_cores_and_kinds_that_the_figures_do_not_know_are_drawn(folder: RunFolder) -> None:
    structure = json.loads((Structure.cores(SITES[:1], 2) | Structure.bitfit(SITES)).to_json())
    (unknown,) = [m for m in structure["modules"] if m["kind"] == "bias" and m["layer"] == 1]
    unknown["kind"] = EVIL
    (folder / "structures" / "slat-a.json").write_text(json.dumps(structure))
    analyse(folder)
    text = (folder / "report.html").read_text()
    assert "4 spectral entries among the 2 leading directions\n1 bias\n12 parameters" in text
    assert '<i class="unit-other"></i>&lt;script&gt;' in text


def test_seeds_that_searched_again_count_with_the_structure_that_each_found(folder: RunFolder) -> None:
    """Of a search in place of a training again: another size for each seed, and a place of its own on the page."""
    selection = json.loads((folder / "selection.json").read_text())
    for seed, params in ((0, 64), (1, 32)):
        key = f"slat-a-own-{seed}"
        trained = json.loads((folder / "units" / f"slat-a-{seed}.train.json").read_text())
        trained |= {"unit": unit("search", "slat-a-own", seed), "params": params}
        (folder / "units" / f"{key}.train.json").write_text(json.dumps(trained))
        for name in ("test.json", "test.safetensors"):
            shutil.copy(folder / "units" / f"slat-a-{seed}.{name}", folder / "units" / f"{key}.{name}")
        final = {"key": key, "label": "slat-a-own", "name": "SLAT, own weights", "structure": f"of seed {seed}"}
        selection["finals"].append({**final, "group": "SLAT, own weights", "budget": None})
    selection["tuning"]["SLAT, own weights"] = {"tried": {"0.01": 0.8}, "chosen": "0.01"}
    (folder / "selection.json").write_text(json.dumps(selection))
    shutil.copy(folder / "structures" / "slat-a.json", folder / "structures" / "slat-a-own.json")
    table, _ = analyse(folder)
    row = table.set_index("method").loc["slat-a-own"]
    assert (row["family"], row["params"], row["compression"]) == ("slat", 48, (1000 / 64 + 1000 / 32) / 2)
    page = Page()
    page.feed((folder / "report.html").read_text())
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {"s-slat-a", "s-slat-a-own"} <= set(ids)


def test_a_run_of_an_earlier_version_is_one_sentence(folder: RunFolder) -> None:
    selection = json.loads((folder / "selection.json").read_text())
    for final in selection["finals"]:
        del final["group"]
    (folder / "selection.json").write_text(json.dumps(selection))
    with pytest.raises(SlatError, match="made by an earlier version"):
        analyse(folder)


def test_analysis_needs_neither_torch_nor_ray() -> None:
    code = "import sys, slat_search.analysis.report; print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_a_structure_that_is_gone_is_one_sentence(folder: RunFolder) -> None:
    for path in (folder / "structures").glob("*.json"):
        path.unlink()
    with pytest.raises(SlatError, match=r"structures/slat-.*\.json: no such file, and results are of that structure"):
        analyse(folder)
