"""What the stages of a run leave behind, made by hand, with names that try to break out of the report."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from safetensors.numpy import save_file

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


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))


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
