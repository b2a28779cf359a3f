"""Sensitivity studies over several tasks: curves of the mean and of each task follow from what the trainings left."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from slat_search.analysis.report import analyse
from slat_search.analysis.studies import analyse_studies, read_studies
from slat_search.files import write_json
from slat_search.metrics import quality
from slat_search.run_folder import RunFolder
from tests.analysis.made import unit
from tests.analysis.test_pool import SHARED, TASKS, made_pool, told

METRICS = ("accuracy", "f1", "accuracy")  # which take draws of different number


def made_studies(folder: Path) -> RunFolder:
    """What two weights of sharing and one baseline leave, two seeds each."""
    rng = np.random.default_rng(0)
    (folder / "units").mkdir(parents=True)
    points, reference = [], []
    for (method, value), seed in itertools.product((("SLAT", 0.0), ("SLAT", 1.0), ("LoRA", None)), (0, 1)):
        key = f"{method}-{value}-{seed}"
        validation = {"quality": 0.5, "quality_perturbed": 0.4, "retained": 0.8, "loss": 1.0}
        trained = {
            "unit": unit("search", key, seed), "params": 64, "seconds": 1.0, "step_seconds": 0.1,
            "steps": 10, "memory": 0,
            "validation": validation,
        }  # fmt: skip
        if method == "SLAT":
            trained["structure"] = SHARED.to_dict()
        measures, arrays = {}, {}
        for number, (task, metric) in enumerate(zip(TASKS, METRICS, strict=True)):
            result, predictions = told(rng)
            result["quality"], result["perturbed"][0]["quality"] = (
                quality(metric, predictions["labels"], outputs) for outputs in predictions["outputs"]
            )
            measures[task] = result
            arrays |= {f"{number}.{name}": values for name, values in predictions.items()}
        mean = float(np.mean([result["quality"] for result in measures.values()]))
        write_json(folder / "units" / f"{key}.train.json", trained)
        write_json(folder / "units" / f"{key}.test.json", {"quality": mean, "tasks": measures})
        save_file(arrays, folder / "units" / f"{key}.test.safetensors")
        study = "sparsity" if value is None else "sharing"
        points.append({"study": study, "method": method, "kind": "weight", "value": value, "key": key})
        if value == 0.0 or value is None:
            reference.append({"method": method, "key": key})
            points.append({"study": "noise", "method": method, "kind": "mixed", "value": 0.0, "key": key})
        if value == 0.0:
            points.append({"study": "sparsity", "method": method, "kind": "weight", "value": 1.0, "key": key})
    tuning = {name: {"tried": {"0.01": 0.5}, "chosen": "0.01"} for name in ("SLAT", "LoRA")}
    write_json(folder / "points.json", {"points": points, "reference": reference, "tuning": tuning})
    tasks = [{"name": task, "metric": metric} for task, metric in zip(TASKS, METRICS, strict=True)]
    config = {
        "name": "evil", "seed": 0, "seeds": 2, "tasks": tasks, "training": {"steps": 30},
        "sensitivity": {"weight": 1.0, "sharing": 0.0},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    sizes = {"train": 100, "validation": 60, "test": 60, "majority": 0.5, "labels": ["a", "b"]}
    model = {"name": "tiny", "params": 1000, "head_params": 18, "layers": 2, "site_columns": ["q"]}
    environment = {"tasks": [{"name": task, **sizes} for task in TASKS], "model": model}
    write_json(folder / "environment.json", environment)
    return RunFolder(folder)


def test_the_mean_is_that_of_the_tasks_in_every_curve(tmp_path: Path) -> None:
    studies = read_studies(made_studies(tmp_path / "studies"))
    assert studies.tasks == list(TASKS)
    names = ["study", "kind", "method", "value"]
    measures = ["quality", "change"]
    by_task = studies.by_task.groupby(names, dropna=False)[measures].mean()
    of_mean = studies.curves.groupby(names, dropna=False)[measures].mean()
    pd.testing.assert_frame_equal(by_task, of_mean)
    trained = studies.curves[studies.curves["study"] != "perturbation"].set_index(names)["quality"]
    means = studies.results.groupby(names, dropna=False)["quality"].mean()
    pd.testing.assert_series_equal(trained.sort_index(), means.sort_index())
    assert (studies.curves["low"] <= studies.curves["quality"]).all()
    assert (studies.curves["quality"] <= studies.curves["high"]).all()
    # the mean of three tasks is known better than each of them
    width = (studies.curves["high"] - studies.curves["low"]).mean()
    assert width < (studies.by_task["high"] - studies.by_task["low"]).mean() / 1.4


def test_what_is_shared_is_told(tmp_path: Path) -> None:
    folder = made_studies(tmp_path / "studies")
    by_users = SHARED.shared_by()
    share = 1 - by_users[1] / sum(by_users.values())
    outcome = analyse_studies(folder)
    assert f"that several tasks use goes from {share:.0%} to {share:.0%}, its size from 64 to 64 parameters" in outcome
    assert "Worse than at weight 0 beyond chance: " in outcome
    results = pd.read_csv(folder / "results.csv")
    assert results[results["method"] == "SLAT"]["shared"].tolist() == pytest.approx([share] * 8)
    assert results[results["method"] == "LoRA"]["shared"].isna().all()
    assert set(pd.read_csv(folder / "curves_by_task.csv")["task"]) == set(TASKS)
    assert (folder / "figures" / "noise_mixed_by_task.png").is_file()
    text = (folder / "report.html").read_text()
    assert "mean of 3 tasks" in text
    assert "weight of sharing 0, no noise" in text
    assert "<script>alert" not in text


@pytest.mark.slow
def test_the_report_of_a_pool_has_them_as_a_section(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    pool = made_pool(tmp_path / "pool")
    analyse(pool)
    assert '<h2 id="sensitivity">' not in (pool / "report.html").read_text()
    studies = made_studies(pool.root / "sensitivity")
    analyse_studies(studies)
    (studies.root / "done.json").write_text(json.dumps({}))
    analyse(pool)
    assert (pool / "report.html").read_text().count('<h2 id="sensitivity">') == 1
