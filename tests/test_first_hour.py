"""The first hour of a new user, as a script: from a CSV to an exported adapter, each step by its command."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import slat_search
from slat_search.search.overall import RunProgress
from tests.cli.test_init import news
from tests.whole import SLAT, TIMES

#: a run in little
SETTINGS = {
    "training.steps": 10,
    "training.batch_size": 16,
    "search.trials": 2,
    "search.num_selected": 1,
    "search.refit_learning_rates": [0.01],
    "search.time_limit": "2h",
    "search.space.sparsity": {"low": 0.01, "high": 0.1},
    "baselines": [{"method": "lora", "size": 2, "learning_rates": [0.01]}, {"method": "head"}],
    "baselines.1.learning_rates": [0.01],
    "evaluation.ratios": [0.2],
    "seeds": 1,
}


def slat(*arguments: object, cwd: Path, given: str | None = None) -> str:
    """Run a command as a user does; returns what it answers."""
    command = [SLAT, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, input=given, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_first_hour(tmp_path: Path) -> None:
    table = news()
    table.to_csv(tmp_path / "news.csv", index=False)
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={json.dumps(value)}")]

    assert "slat run news.yaml" in slat("init", "news.csv", "--text", "headline", cwd=tmp_path)
    assert "5 classes; accuracy" in slat("tasks", "news.yaml", cwd=tmp_path)
    plan = slat("run", "news.yaml", "--dry-run", *settings, cwd=tmp_path)
    assert "2 trials of 10 steps" in plan
    assert not (tmp_path / "runs").exists()

    output = slat("run", "news.yaml", *settings, cwd=tmp_path)
    assert "linear head" in output
    (listed,) = map(json.loads, slat("list", "--json", cwd=tmp_path).splitlines())
    assert (listed["path"], listed["state"], listed["task"]) == ("runs/news", "done", "news")
    (shown,) = map(json.loads, slat("show", "runs/news", "--json", cwd=tmp_path).splitlines())
    assert listed["method"] in [row["name"] for row in shown["table"]]
    assert slat("show", "runs/news", cwd=tmp_path).startswith("| method")

    texts = table["headline"][:3].tolist()
    lines = slat("predict", "runs/news", "--file", "-", "--json", cwd=tmp_path, given="\n".join(texts))
    predicted = [json.loads(line) for line in lines.splitlines()]
    assert [row["headline"] for row in predicted] == texts

    shares: list[RunProgress] = []

    class Watched(RunProgress):
        def __init__(self, stages: dict[str, float]):
            super().__init__(stages)
            shares.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr("slat_search.pipeline.RunProgress", Watched)
        config = slat_search.config.load_config("runs/news/config.yaml")
        again = slat_search.run(config.model_dump(mode="json"), "runs/again")
    assert [progress.share for progress in shares] == [pytest.approx(1)]  # all that was foreseen was done
    first = slat_search.RunResult(tmp_path / "runs" / "news")
    columns = [column for column in first.table if column not in TIMES]
    assert again.table[columns].equals(first.table[columns])
    assert again.best["name"] == listed["method"]
    probabilities = again.predictor()(texts)
    labels = again.predictor().labels
    assert [labels[place] for place in probabilities.argmax(axis=1)] == [row["predicted"] for row in predicted]

    adapter = next(path.name for path in (tmp_path / "runs" / "news" / "adapters").glob("lora*"))
    assert "how to use it" in slat("export", "runs/news", "--adapter", adapter, "--out", "exported", cwd=tmp_path)
    assert (tmp_path / "exported" / "README.md").is_file()
    slat("compare", "a=runs/news", "b=runs/again", cwd=tmp_path)
