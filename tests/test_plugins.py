"""Another package adds a kind, a metric and a task by entry points."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slat_search import SlatError
from slat_search.metrics import quality
from tests.test_new_kind import CLASS

PACKAGE = (
    CLASS.replace(".site_module", "slat_search.structure.site_module")
    + '''
from pathlib import Path

import numpy as np
from slat_search.structure.kinds import Kind

GAIN = Kind("gain", Gain, unit_cost=lambda site: 1, fits=lambda site: site.is_sublayer_output, sized=False)
BIAS = Kind("bias", Gain, unit_cost=lambda site: 1, fits=lambda site: True)
ROWS = str(Path(__file__).with_name("tickets.csv"))
TICKETS = {"train": ROWS, "text": ["words"], "label": "team", "metric": "recall"}
HALF = {"train": "tickets.csv", "metric": "nothing known"}


def recall(labels, predictions):
    """Recall of the last class."""
    last = labels == labels.max()
    return float(np.mean(predictions[last] == labels[last]))


def error(labels, predictions):
    """Negative mean absolute error."""
    return -float(np.mean(np.abs(labels - predictions)))


error.of_numbers = True
'''
)
POINTS = """
[slat_search.kinds]
gain = their_package:GAIN
bias = their_package:BIAS
gone = their_package:NOT_THERE
number = their_package:recall

[slat_search.metrics]
recall = their_package:recall
error = their_package:error

[slat_search.tasks]
tickets = their_package:TICKETS
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that the package is installed in."""
    folder = tmp_path / "site"
    (folder / "their_package").mkdir(parents=True)
    (folder / "their_package" / "__init__.py").write_text(PACKAGE)
    rows = [f"{word} number {n},{team}" for n in range(40) for word, team in (("printer", "office"), ("server", "net"))]
    (folder / "their_package" / "tickets.csv").write_text("words,team\n" + "\n".join(rows) + "\n")
    facts = folder / "their_package-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.2\n")
    (facts / "entry_points.txt").write_text(POINTS)
    return folder


def python(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *command], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_another_package_adds_a_kind_a_metric_and_a_task(installed: Path) -> None:
    code = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from slat_search.config import Config
    from slat_search.structure.kinds import KINDS
config = Config.model_validate({
    "task": {"name": "tickets"},
    "space": {"kinds": {"gain": {"size": 1}, "bias": {"size": 1}}},
})
from their_package import ROWS
import pandas as pd
own = ROWS.replace("tickets", "numbers")
pd.DataFrame({"text": [f"ticket {n}" for n in range(60)], "label": [n / 4 for n in range(60)]}).to_csv(own, index=False)
of_numbers = Config.model_validate({"task": {"name": "own", "train": own, "metric": "error"}})
from slat_search.training.context import prepare
from slat_search.training.trial import space
from slat_search.structure import Supernet, find_sites
from slat_search.metrics import quality
from slat_search.provenance import environment
import numpy as np
numbers = prepare(of_numbers)[1][0]
context, tasks = prepare(config)
model = context.backbone().model
supernet = Supernet(model, find_sites(model), space(config))
print(json.dumps({
    "warnings": [str(w.message) for w in caught if "left out" in str(w.message)],
    "metric": config.task.metric,
    "numbers": [numbers.labels, numbers.scale[1] > 1],
    "labels": tasks[0].labels,
    "kinds": list(KINDS)[-1],
    "bias": KINDS["bias"].label,
    "default": "gain" in Config().space.kinds,
    "found": sorted({module.kind for module in supernet.adapter.structure.modules}),
    "quality": quality("recall", np.array([0, 1, 1]), np.array([0, 1, 0])),
    "version": environment(context, tasks).versions["their-package"],
}))
"""
    result = python(installed, "-c", code)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert (told["metric"], told["numbers"], told["labels"]) == ("recall", [[], True], ["net", "office"])
    assert (told["kinds"], told["bias"], told["default"]) == ("gain", "bias", False)
    assert told["found"] == ["bias", "gain"]
    assert (told["quality"], told["version"]) == (0.5, "1.2")
    problems = told["warnings"]
    assert [problem.split(" of the package their-package ")[0] for problem in problems] == [
        f"slat_search.kinds: {name}" for name in ("bias", "gone", "number")
    ]
    assert ["name is taken" in problems[0], "NOT_THERE" in problems[1], "no Kind" in problems[2]] == [True] * 3


def test_its_task_is_listed_and_described(installed: Path) -> None:
    result = python(installed, "-m", "slat_search", "tasks")
    assert result.returncode == 0, result.stderr
    assert "tickets" in result.stdout
    assert "words; recall" in result.stdout
    result = python(installed, "-m", "slat_search", "tasks", "tickets")
    assert result.returncode == 0, result.stderr
    assert "office" in result.stdout


def test_a_preset_of_another_package_that_is_wrong_is_one_sentence(installed: Path) -> None:
    points = installed / "their_package-1.2.dist-info" / "entry_points.txt"
    points.write_text(points.read_text() + "half = their_package:HALF\n")
    result = python(installed, "-m", "slat_search", "tasks")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "task half, a preset of another package: " in result.stderr
    assert "unknown metric" in result.stderr


def test_a_metric_whose_package_is_gone_is_one_sentence() -> None:
    with pytest.raises(SlatError, match="metric recall: the package that adds it is not installed here"):
        quality("recall", np.array([0, 1]), np.array([0, 1]))
