"""The report of a run over several tasks: figures follow from the files of its trainings, user text stays text."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from slat_search.analysis import sharing
from slat_search.analysis.choice import recommended
from slat_search.analysis.report import analyse
from slat_search.analysis.shared import shared_by
from slat_search.analysis.tables import found_ones
from slat_search.run_folder import RunFolder
from slat_search.structure import SharedStructure, Site, Structure
from tests.analysis.made import EVIL, Page, unit

TASKS = ("one", "two", EVIL)
SITES = tuple(Site(layer, f"encoder.layer.{layer}.q", "q", 8, 8) for layer in range(2))
SHARED = SharedStructure(TASKS, Structure.lora(SITES, r=2), ((0, 1), (0,), (0, 1, 2), (2,)))


def test_overlap_and_users_are_those_of_the_structure() -> None:
    raw = SHARED.to_dict()
    table = sharing.overlap(raw)
    for one, two in itertools.product(TASKS, TASKS):
        assert table.loc[one, two] == pytest.approx(SHARED.overlap(one, two))
    assert shared_by(raw) == SHARED.shared_by() == {1: 32, 2: 16, 3: 16}
    blocks = sharing.by_block(raw, layers=3)
    assert blocks.sum(axis=1).to_dict() == {task: SHARED.of(task).params for task in TASKS}
    assert blocks.columns.tolist() == [0, 1, 2]


def told(rng: np.random.Generator) -> tuple[dict, dict]:
    """Measures of a test, and the predictions that they come from."""
    labels, outputs = rng.integers(2, size=60), rng.integers(2, size=(2, 60))
    clean, typos = ((outputs == labels).mean(axis=1)).tolist()
    curve = [{"kind": "typos", "ratio": 0.2, "quality": typos}]
    predictions = {"labels": labels, "outputs": outputs, "confidence": rng.uniform(0.5, 1, (2, 60)).astype(np.float32)}
    return {"quality": clean, "seconds_per_text": 0.01, "perturbed": curve}, predictions


def made_pool(tmp_path: Path) -> RunFolder:
    """What the stages of a run leave: one found pool, a shared baseline and one for each task alone, two seeds."""
    rng = np.random.default_rng(0)
    validation = {"quality": 0.8, "quality_perturbed": 0.7, "retained": 0.9, "loss": 0.5}
    options = {"slat-a": {"structure": SHARED.to_dict()}, "lora": {}}
    finals = []
    for label, seed in itertools.product(options, (0, 1)):
        key = f"{label}-{seed}"
        trained = {
            "unit": {**unit("slat", label, seed), "options": options[label]},
            "validation": {**validation, "quality_worst": 0.7, "tasks": dict.fromkeys(TASKS, validation)},
            "params": 64 if options[label] else 100, "seconds": 3.0, "step_seconds": 0.1, "steps": 30, "memory": 10**8,
        }  # fmt: skip
        measures, arrays = {}, {}
        for number, task in enumerate(TASKS):
            measures[task], predictions = told(rng)
            arrays |= {f"{number}.{name}": values for name, values in predictions.items()}
        (tmp_path / "units").mkdir(exist_ok=True)
        (tmp_path / "units" / f"{key}.train.json").write_text(json.dumps(trained))
        mean = float(np.mean([found["quality"] for found in measures.values()]))
        (tmp_path / "units" / f"{key}.test.json").write_text(json.dumps({"quality": mean, "tasks": measures}))
        save_file(arrays, tmp_path / "units" / f"{key}.test.safetensors")
        name, digest = ("SLAT & co", SHARED.digest) if options[label] else ("LoRA", "")
        group = "SLAT" if options[label] else "LoRA"
        finals.append({"key": key, "label": label, "name": name, "structure": digest, "group": group, "budget": None})
    tuning = {name: {"tried": {"0.01": 0.8}, "chosen": "0.01"} for name in ("SLAT & co", "LoRA")}
    (tmp_path / "selection.json").write_text(json.dumps({"finals": finals, "tuning": tuning}))
    alone = []
    for task, seed in itertools.product(TASKS, (0, 1)):
        where = tmp_path / "units" / "alone" / task
        where.mkdir(parents=True, exist_ok=True)
        trained = {
            "unit": unit("lora", "lora", seed), "validation": validation,
            "params": 100, "seconds": 1.0, "step_seconds": 0.1, "steps": 10, "memory": 10**8,
        }  # fmt: skip
        measures, predictions = told(rng)
        (where / f"lora-{seed}.train.json").write_text(json.dumps(trained))
        (where / f"lora-{seed}.test.json").write_text(json.dumps(measures))
        save_file(predictions, where / f"lora-{seed}.test.safetensors")
        row = {"key": f"lora-{seed}", "task": task, "label": "alone-lora", "name": "LoRA, each task alone"}
        alone.append({**row, "tuned_as": f"LoRA, {task} alone", "structure": None})
    tuning = {row["tuned_as"]: {"tried": {"0.01": 0.8}, "chosen": "0.01"} for row in alone}
    (tmp_path / "alone.json").write_text(json.dumps({"finals": alone, "tuning": tuning}))
    (tmp_path / "structures").mkdir()
    (tmp_path / "structures" / "slat-a.json").write_text(SHARED.to_json())
    pairs = itertools.product((*TASKS, "random"), TASKS)
    transfer = [{"of": of, "on": on, "seed": 0, "params": 9, "quality": 0.5} for of, on in pairs]
    pd.DataFrame(transfer).to_csv(tmp_path / "transfer.csv", index=False)
    trial = {
        "trial": 0, "status": "completed", "sparsity": 1.0, "learning_rate": 0.01, "sharing": 0.5, "noise_kind": "none",
        "noise_ratio": 0.0, "step": 30, "quality": 0.8, "quality_worst": 0.7, "retained": 0.9, "params": 64,
        "seconds": 1.0, "refitted": "yes", "error": "",
    }  # fmt: skip
    pd.DataFrame([trial]).to_csv(tmp_path / "trials.csv", index=False)
    pd.DataFrame([{"trial": 0, "step": 30, "quality": 0.8, "params": 64}]).to_csv(tmp_path / "history.csv", index=False)
    config = {
        "name": "evil", "seed": 0, "seeds": 2, "tasks": [{"name": task, "metric": "accuracy"} for task in TASKS],
        "model": {"name": "tiny"}, "training": {"steps": 30}, "search": {"tolerance": 0.01},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    sizes = {"train": 100, "validation": 60, "test": 60, "majority": 0.5, "labels": ["a", EVIL]}
    model = {"name": "tiny", "params": 1000, "head_params": 18, "layers": 2, "site_columns": ["q"]}
    environment = {"tasks": [{"name": task, **sizes} for task in TASKS], "model": model}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    return RunFolder(tmp_path)


def recommended_of(folder: RunFolder) -> str:
    """Label of the recommended found structure of a run whose report is made."""
    table, data = analyse(folder)
    best = recommended(found_ones(table), data.config.tolerance)
    return "" if best is None else str(best["method"])


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_pool(tmp_path)


def test_the_table_follows_from_rows_of_results(folder: RunFolder) -> None:
    assert recommended_of(folder) == "slat-a"
    rows = pd.read_csv(folder / "results.csv")
    table = pd.read_csv(folder / "comparison.csv").set_index("method")
    assert set(table.index) == {"slat-a", "lora", "alone-lora"}
    for method, part in rows.groupby("method"):
        assert len(part) == 6
        by_seed = part.groupby("seed")["quality"]
        assert table.loc[method, "quality"] == pytest.approx(by_seed.mean().mean())
        assert table.loc[method, "quality_sd"] == pytest.approx(by_seed.mean().std())
        assert table.loc[method, "worst"] == pytest.approx(by_seed.min().mean())
        for task in TASKS:
            assert table.loc[method, task] == pytest.approx(part["quality"][part["task"] == task].mean())
    assert table["params"].to_dict() == {"slat-a": 64, "lora": 100, "alone-lora": 300}
    assert table["train_seconds"].to_dict() == {"slat-a": 3.0, "lora": 3.0, "alone-lora": 3.0}
    own = rows[rows["method"] == "slat-a"].groupby("task")["own"].first().to_dict()
    assert own == {task: SHARED.of(task).params for task in TASKS}
    tests = [json.loads(p.read_text()) for p in sorted((folder / "units").glob("slat-a-*.test.json"))]
    assert table.loc["slat-a", "quality"] == pytest.approx(np.mean([test["quality"] for test in tests]))


@pytest.mark.parametrize("alone", [None, {"finals": [], "tuning": {}}])
def test_without_tasks_alone_and_transfers(folder: RunFolder, alone: dict | None) -> None:
    """As configured, or because a run has not come so far."""
    (folder / "transfer.csv").unlink()
    (folder / "alone.json").unlink()
    if alone is not None:
        (folder / "alone.json").write_text(json.dumps(alone))
    assert recommended_of(folder) == "slat-a"
    table = pd.read_csv(folder / "comparison.csv").set_index("method")
    assert table["params"].to_dict() == {"slat-a": 64, "lora": 100}
    page = (folder / "report.html").read_text()
    assert "Transfer" not in page
    assert "Who shares what" in page


def test_a_run_whose_found_pools_all_diverged(folder: RunFolder) -> None:
    selection = json.loads((folder / "selection.json").read_text())
    selection["finals"] = [final for final in selection["finals"] if final["label"] == "lora"]
    (folder / "selection.json").write_text(json.dumps(selection))
    (folder / "structures" / "slat-a.json").unlink()
    assert recommended_of(folder) == ""
    page = (folder / "report.html").read_text()
    assert "No structure that the search found could be trained." in page
    assert "Who shares what" not in page


def test_stored_bytes_of_tasks_apart_add_up(folder: RunFolder) -> None:
    analyse(folder)
    assert "stored bytes" not in (folder / "comparison.md").read_text()  # of an earlier version
    for path in folder.root.glob("units/**/lora-*.train.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bytes": 400}))
    analyse(folder)
    table = pd.read_csv(folder / "comparison.csv").set_index("method")
    assert table["bytes"].dropna().to_dict() == {"lora": 400, "alone-lora": 1200}
    header, _, *lines = (folder / "comparison.md").read_text().splitlines()
    column = [cell.strip() for cell in header.split("|")].index("stored bytes")
    assert [line.split("|")[column].strip() for line in lines] == ["-", "400", "1,200"]


def test_user_text_stays_text_and_every_link_leads_somewhere(folder: RunFolder) -> None:
    analyse(folder)
    text = (folder / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]
    assert "&lt;script&gt;" in text
    links = [a["href"][1:] for tag, a in page.tags if tag == "a"]
    assert set(links) <= {a["id"] for _, a in page.tags if "id" in a}
    assert not re.search(r"\bnan\b", re.sub(r"base64,[^\"]*", "", text))
    answer = text.split('<ul class="why">')[1].split("</ul>")[0]
    assert "with 64 adapter parameters (6.400 % of the backbone)" in answer
    rows = pd.read_csv(folder / "results.csv")
    wide = rows.pivot_table(index="seed", columns=["method", "task"], values="quality")
    apart = wide["slat-a"] - wide["alone-lora"]
    best, mean = rows[rows["method"] == "alone-lora"]["quality"].mean(), apart.mean(axis=1).mean()
    assert re.search(rf"Against LoRA, each task alone[^:]*, with {best:.3f} and 300 parameters, 4.7 times", answer)
    assert f": {mean:+.3f} (95 % " in answer
    assert answer.count(" (95 % ") == 2
    first = "<li>SLAT &amp; co is recommended: it is the smallest of all methods within 0.01 of the best "
    assert answer.strip().startswith(first)
    *_, table = (folder / "answer.md").read_text().strip().split("\n\n")
    header, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert header[:3] == ["task", "SLAT & co", "parameters used"]
    alone = header.index("against LoRA, each task alone")
    told = {line[0]: (line[1], line[2], line[alone]) for line in lines}
    for task, used in (("one", "48"), ("two", "32")):
        level = wide["slat-a"][task].mean()
        assert told[task] == (f"{level:.3f}", used, f"{apart[task].mean():+.3f}")
    assert "the answer by task" in text


def test_seeds_that_searched_again_count_with_the_pool_that_each_found(folder: RunFolder) -> None:
    smaller = SharedStructure(TASKS, Structure.lora(SITES, r=1), ((0,), (0, 1, 2)))
    selection = json.loads((folder / "selection.json").read_text())
    for seed, structure in enumerate((SHARED, smaller)):
        trained = json.loads((folder / "units" / f"slat-a-{seed}.train.json").read_text())
        trained["unit"] |= {"method": "search", "label": "slat-a-own", "options": {"budget": 64}}
        trained |= {"params": structure.params, "structure": structure.to_dict()}
        (folder / "units" / f"slat-a-own-{seed}.train.json").write_text(json.dumps(trained))
        for name in ("test.json", "test.safetensors"):
            shutil.copy(folder / "units" / f"slat-a-{seed}.{name}", folder / "units" / f"slat-a-own-{seed}.{name}")
        final = {"key": f"slat-a-own-{seed}", "label": "slat-a-own", "name": "SLAT, own weights"}
        selection["finals"].append({**final, "structure": structure.digest, "group": "SLAT", "budget": None})
    selection["tuning"]["SLAT, own weights"] = selection["tuning"]["LoRA"]
    (folder / "selection.json").write_text(json.dumps(selection))
    (folder / "structures" / "slat-a-own.json").write_text(smaller.to_json())
    assert recommended_of(folder) == "slat-a-own"  # as good on validation, and smaller
    row = pd.read_csv(folder / "comparison.csv").set_index("method").loc["slat-a-own"]
    assert (row["family"], row["params"]) == ("slat", (64 + 32) / 2)
    assert row["own: two"] == (SHARED.of("two").params + smaller.of("two").params) / 2
