"""The report of a run whose names try to break out of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from slat_search.analysis.choice import notes, recommended, verdict
from slat_search.analysis.comparison import compare_runs
from slat_search.analysis.data import read_kept
from slat_search.analysis.formats import to_latex, to_markdown
from slat_search.analysis.plots import trial_rows
from slat_search.analysis.report import analyse
from slat_search.analysis.tables import comparison
from slat_search.errors import SlatError
from slat_search.run_folder import RunFolder
from slat_search.structure import Site, Structure

EVIL = "<script>alert('x')</script>"
SITES = tuple(Site(layer, f"encoder.layer.{layer}.{EVIL}", "q", 8, 8) for layer in range(2))


def unit(method: str, label: str, seed: int) -> dict:
    return {
        "method": method, "label": label, "seed": seed, "learning_rate": 0.01, "noise_kind": "none", "noise_ratio": 0.0,
        "options": {},
    }  # fmt: skip


def made_run(tmp_path: Path) -> RunFolder:
    """What the stages of a run leave behind: one found structure, one baseline, two seeds."""
    tmp_path.mkdir(exist_ok=True)
    structure = Structure.lora(SITES, r=2)
    config = {
        "name": "evil", "seed": 0, "seeds": 2, "task": {"name": EVIL, "metric": "accuracy"},
        "training": {"steps": 10}, "search": {"tolerance": 0.01}, "model": {"name": "tiny"},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {
        "task": {
            "name": EVIL,
            "labels": [EVIL, "b"],
            "majority": 0.5,
            "train": 300,
            "validation": 100,
            "test": 100,
        },
        "model": {"name": EVIL, "params": 1000, "head_params": 18, "layers": 2, "site_columns": [EVIL]},
    }
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    finals = [
        {
            "key": f"{label}-{seed}",
            "label": label,
            "name": name,
            "structure": digest,
            "group": "SLAT" if digest else name,
            "budget": None,
        }
        for label, name, digest in (("slat-a", f"SLAT {EVIL}", structure.digest), ("lora", "LoRA & co", ""))
        for seed in (0, 1)
    ]
    tuning = {final["name"]: {"tried": {"0.01": 0.8, "0.1": None}, "chosen": "0.01"} for final in finals}
    (tmp_path / "selection.json").write_text(json.dumps({"finals": finals, "tuning": tuning}))
    (tmp_path / "structures").mkdir()
    (tmp_path / "structures" / "slat-a.json").write_text(structure.to_json())
    (tmp_path / "units").mkdir()
    for i, final in enumerate(finals):
        result = final["label"] == "slat-a"
        trained = {
            "unit": unit("slat" if result else "lora", final["label"], i % 2),
            "validation": {"quality": 0.8 + 0.01 * i, "quality_perturbed": 0.7, "retained": 0.9, "loss": 0.5},
            "params": structure.params if result else 500, "seconds": 1.0, "step_seconds": 0.1,
            "steps": 10, "memory": 10**8,
        }  # fmt: skip
        tested = {
            "quality": 0.8, "seconds_per_text": 0.01,
            "perturbed": [{"kind": "typos", "ratio": r, "quality": 0.8 - r} for r in (0.1, 0.2)],
        }  # fmt: skip
        (tmp_path / "units" / f"{final['key']}.train.json").write_text(json.dumps(trained))
        (tmp_path / "units" / f"{final['key']}.test.json").write_text(json.dumps(tested))
        rng = np.random.default_rng(i)
        predictions = {
            "labels": rng.integers(2, size=100), "outputs": rng.integers(2, size=(3, 100)),
            "confidence": rng.uniform(0.5, 1, size=(3, 100)).astype(np.float32),
        }  # fmt: skip
        save_file(predictions, tmp_path / "units" / f"{final['key']}.test.safetensors")
    trial = {
        "trial": 0, "status": "completed", "sparsity": 1.0, "learning_rate": 0.01, "gate_learning_rate": 0.1,
        "noise_kind": "none", "noise_ratio": 0.0, "step": 10, "quality": 0.8, "retained": 0.9, "params": 64,
        "seconds": 1.0, "refitted": "yes", "error": "",
    }  # fmt: skip
    failed = {**dict.fromkeys(trial), "trial": 1, "status": "failed", "sparsity": 2.0, "error": EVIL}
    pd.DataFrame([trial, failed]).to_csv(tmp_path / "trials.csv", index=False)
    pd.DataFrame([{"trial": 0, "step": 10, "quality": 0.8, "params": 64}]).to_csv(tmp_path / "history.csv", index=False)
    return RunFolder(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


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
    name = folder.root.name
    assert f'<pre tabindex="0">slat predict {name} --text "TEXT"</pre>' in head
    assert f"slat export {name} --out adapter --format peft" in head
    assert f"slat_search.load('{name}')([\"TEXT\"])" in head


def answer_of(folder: RunFolder) -> str:
    """What the page begins with and goes on to explain, and what the run says at its end."""
    page = (folder / "report.html").read_text()
    (first,) = re.findall(r'class="answer">(.*?)</p>', page, re.DOTALL)
    (why,) = re.findall(r'<ul class="why">(.*?)</ul>', page, re.DOTALL)
    sentences = [html.unescape(one) for one in re.findall("<li>(.*?)</li>", why)]
    text = (folder / "answer.md").read_text().strip()
    assert "<" not in text  # no HTML where Markdown is shown
    assert html.unescape(text) == f"{html.unescape(first)}\n\n{' '.join(sentences)}"
    return html.unescape(text)


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


def test_a_run_whose_found_structures_all_diverged(folder: RunFolder) -> None:
    selection = json.loads((folder / "selection.json").read_text())
    selection["finals"] = [final for final in selection["finals"] if final["label"] == "lora"]
    (folder / "selection.json").write_text(json.dumps(selection))
    (folder / "structures" / "slat-a.json").unlink()
    table, _ = analyse(folder)
    assert table["method"].tolist() == ["lora"]
    assert answer_of(folder).startswith("Use LoRA & co, a hand-made method: test accuracy is 0.800 with 500 adapter")
    assert answer_of(folder).endswith("No structure that the search found could be trained.")


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


def test_a_run_of_an_earlier_version_is_one_sentence(folder: RunFolder) -> None:
    selection = json.loads((folder / "selection.json").read_text())
    for final in selection["finals"]:
        del final["group"]
    (folder / "selection.json").write_text(json.dumps(selection))
    with pytest.raises(SlatError, match="made by an earlier version"):
        analyse(folder)


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


def test_analysis_needs_neither_torch_nor_ray() -> None:
    code = "import sys, slat_search.analysis.report; print({'torch', 'ray', 'transformers'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


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
