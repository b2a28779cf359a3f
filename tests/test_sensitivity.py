"""Sensitivity studies through the command line, in the folder of a finished run: real encoder, real headlines."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from slat_search import sensitivity
from slat_search.cli import main
from slat_search.errors import SlatError
from slat_search.files import read_json
from tests.conftest import small_config
from tests.training.test_pool import TASKS, several
from tests.whole import assert_same, finish, kill_when, start

FILES = (
    "config.yaml",
    "environment.json",
    "results.csv",
    "curves.csv",
    "screening.csv",
    "importance.csv",
    "report.html",
)


@pytest.fixture(scope="session")
def studied(run: tuple[Path, str], config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of finished studies inside that of a finished run, and what they printed."""
    out = tmp_path_factory.mktemp("studied") / "small"
    shutil.copytree(run[0], out)
    return out / "sensitivity", finish(start(config, out, command="sensitivity"))


@pytest.mark.slow
def test_everything_is_there(studied: tuple[Path, str]) -> None:
    folder, output = studied
    for name in FILES:
        assert (folder / name).stat().st_size > 0, name
    for figure in ("sparsity", "noise", "perturbation"):
        assert Image.open(folder / "figures" / f"{figure}.png").size[0] > 400
    assert "From sparsity weight 0 to 1 the structure" in output
    assert "screened with 4 trials; fewer than 10 of them completed, which is too few" in output
    assert pd.read_csv(folder / "importance.csv").empty
    assert not (folder / "figures" / "importance.png").exists()
    assert str(folder / "report.html") in output


@pytest.mark.slow
def test_both_reports_have_the_section(studied: tuple[Path, str], run: tuple[Path, str]) -> None:
    folder, _ = studied
    for report in (folder / "report.html", folder.parent / "report.html"):
        text = report.read_text()
        assert text.count('<h2 id="sensitivity">') == 1
        assert "From sparsity weight 0 to 1 the structure" in text
    assert '<h2 id="sensitivity">' not in (run[0] / "report.html").read_text()


@pytest.mark.slow
def test_rows_are_what_was_trained_and_curves_follow_from_them(studied: tuple[Path, str]) -> None:
    folder, _ = studied
    results, curves = pd.read_csv(folder / "results.csv"), pd.read_csv(folder / "curves.csv")
    points = read_json(folder / "points.json")["points"]
    assert len(points) == len(results)
    for point, (_, row) in zip(points, results.iterrows(), strict=True):
        assert row["quality"] == read_json(folder / "units" / f"{point['key']}.test.json")["quality"]
        said = load_file(folder / "units" / f"{point['key']}.test.safetensors")
        assert row["quality"] == pytest.approx(np.mean(said["0.outputs"][0] == said["0.labels"]))
    trained = curves[curves["study"] != "perturbation"].set_index(["study", "kind", "method", "value"])
    means = results.groupby(["study", "kind", "method", "value"], dropna=False)[["quality", "params"]].mean()
    pd.testing.assert_frame_equal(trained[["quality", "params"]].sort_index(), means.sort_index())
    assert (curves["low"] <= curves["quality"]).all()
    assert (curves["quality"] <= curves["high"]).all()


@pytest.mark.slow
def test_changes_count_from_the_reference(studied: tuple[Path, str]) -> None:
    curves = pd.read_csv(studied[0] / "curves.csv")
    for (study, kind, method), rows in curves.groupby(["study", "kind", "method"]):
        by_value = rows.set_index("value")
        if study == "sparsity" and method != "SLAT":
            assert by_value["change"].isna().all()
            continue
        reference = 1.0 if study == "sparsity" else 0.0
        difference = by_value["quality"] - by_value.loc[reference, "quality"]
        assert by_value["change"].tolist() == pytest.approx(difference.tolist()), (study, kind, method)
        assert by_value.loc[reference, ["change", "change_low", "change_high"]].tolist() == [0, 0, 0]


@pytest.mark.slow
def test_the_screening_stops_no_trial(studied: tuple[Path, str]) -> None:
    trials = pd.read_csv(studied[0] / "screening.csv")
    assert trials["status"].tolist() == ["completed"] * 4
    assert trials["step"].tolist() == [10] * 4
    assert trials["sparsity"].nunique() == 4


@pytest.mark.slow
def test_more_points_later_train_only_those(studied: tuple[Path, str], run: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "small"
    shutil.copytree(studied[0].parent, out)
    kept = {p: p.stat().st_mtime_ns for p in out.glob("sensitivity/units/*")}
    wider = small_config().sensitivity.model_copy(update={"weights": (0, 1, 5)})
    path = tmp_path / "small.yaml"
    path.write_text(small_config(sensitivity=wider.model_dump()).to_yaml())
    refused = start(path, out, command="sensitivity")
    assert "use --resume to continue it" in refused.communicate(timeout=100)[0]
    finish(start(path, out, "--resume", command="sensitivity"))
    after = {p: p.stat().st_mtime_ns for p in out.glob("sensitivity/units/*")}
    assert kept.items() <= after.items()
    assert {p.name.split("_")[0] for p in after.keys() - kept.keys()} == {"slat-w5"}
    assert 5 in set(pd.read_csv(out / "sensitivity" / "results.csv")["value"])
    assert "is done already" in finish(start(path, out))  # the run itself does not depend on the studies


@pytest.mark.slow
def test_another_task_does_not_touch_the_folder(studied: tuple[Path, str], tmp_path: Path) -> None:
    other = tmp_path / "small.yaml"
    other.write_text(small_config(seed=5).to_yaml())
    command = ["sensitivity", str(other), "--out", str(studied[0].parent), "--resume"]
    refused = CliRunner().invoke(main, command)
    assert "another configuration" in refused.output
    assert refused.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"method": "static"}}, "has no sparsity to study"),
        ({"baselines": ["uniform"]}, "uniform has the size of found structures"),
    ],
)
def test_what_cannot_be_studied_is_refused_at_once(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(SlatError, match=message):
        sensitivity.run(small_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["units/*.train.json", "units/*.test.json", "screening/ledger.jsonl"])
def test_killed_and_resumed(studied: tuple[Path, str], config: Path, tmp_path: Path, moment: str) -> None:
    out = tmp_path / "killed"
    kill_when(start(config, out, command="sensitivity"), lambda: bool(list(out.glob(f"sensitivity/{moment}"))))
    kept = {p: p.stat().st_mtime_ns for p in out.glob("sensitivity/units/*.json")}
    finish(start(config, out, "--resume", command="sensitivity"))
    assert all(p.stat().st_mtime_ns == time_ns for p, time_ns in kept.items())
    for name in ("results.csv", "curves.csv", "screening.csv", "importance.csv"):
        assert_same(studied[0], out / "sensitivity", name)


@pytest.mark.slow
def test_several_tasks(tmp_path: Path) -> None:
    held = {
        "weights": [0, 1], "weight": 0.05, "sharings": [0, 1], "noise_ratios": [0.2], "learning_rates": [0.002],
        "screening": 4,
    }  # fmt: skip
    baselines = [{"method": "lora", "size": 1, "learning_rates": [0.01]}]
    path, out = tmp_path / "three.yaml", tmp_path / "three"
    path.write_text(several(name="three", seeds=2, baselines=baselines, sensitivity=held).to_yaml())
    output = finish(start(path, out, command="sensitivity"))
    folder = out / "sensitivity"
    assert "From weight of sharing 0 to 1 the part of the pool that several tasks use goes from 100% to " in output
    results, by_task = pd.read_csv(folder / "results.csv"), pd.read_csv(folder / "curves_by_task.csv")
    assert set(results["study"]) == {"sparsity", "sharing", "noise"}
    assert set(by_task["task"]) == {task["name"] for task in TASKS}
    for point, (_, row) in zip(read_json(folder / "points.json")["points"], results.iterrows(), strict=True):
        tested = read_json(folder / "units" / f"{point['key']}.test.json")["tasks"]
        assert row["quality"] == pytest.approx(np.mean([part["quality"] for part in tested.values()]))
    for figure in ("sharing", "noise_mixed_by_task"):
        assert Image.open(folder / "figures" / f"{figure}.png").size[0] > 400
    assert (folder / "report.html").read_text().count('<h2 id="sensitivity">') == 1
