"""What becomes of a method that cannot be trained, with real trainings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from slat_search import SlatError
from slat_search.comparison.contenders import best_seeds, train_baselines, train_finals
from slat_search.comparison.job_runner import JobRunner
from slat_search.config import Config
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import write_adapter
from slat_search.pipeline import choose
from slat_search.records import Report, Selection, Trained
from slat_search.run_folder import RunFolder
from slat_search.search.runtime import ray_session
from slat_search.search.trial_log import Trial
from slat_search.structure import Site, Structure, find_sites
from slat_search.tasks import load_task
from slat_search.training.context import Context
from tests.conftest import small_config


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session():
        yield


@pytest.mark.slow
def test_a_method_that_diverges_is_left_out_and_named(
    context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    structure = Structure.bitfit(find_sites(context.backbone().model))
    trial = Trial(0, {"noise_kind": "none", "noise_ratio": 0.0}, "completed", structure=structure)
    folder = RunFolder(tmp_path)
    broken = {"method": "lora", "learning_rates": [1e30]}
    config = small_config(seeds=1, baselines=[broken, {"method": "head"}])

    def pool_of(config: Config) -> JobRunner:
        return JobRunner(replace(context, config=config), tmp_path / "units")

    finals, _ = train_finals(pool_of(config), [trial], folder)
    hopeless = small_config(search={"refit_learning_rates": [1e30]}, baselines=[])
    with pytest.raises(SlatError, match="training diverged for every structure that was found"):
        train_finals(pool_of(hopeless), [trial], folder)
    left = small_config(seeds=1, search={"refit_learning_rates": [1e30]}, baselines=[{"method": "head"}])
    rest, _ = train_finals(pool_of(left), [trial], RunFolder(tmp_path / "left"))
    assert [contender.title for contender, _ in rest] == ["linear head"]
    assert "training diverged for every structure that was found; the baselines alone are left" in caplog.messages
    assert [contender.title for contender, _ in finals] == ["SLAT 25.3k (trial 0)", "linear head"]
    assert "left out: LoRA r=8, whose training diverged at every learning rate" in caplog.messages
    folder_selection = tmp_path / "selection.json"
    tuning = json.loads(folder_selection.read_text())["tuning"]
    assert tuning["LoRA r=8"] == {"tried": {"1e+30": None}, "chosen": "none: left out"}


def test_baselines_alone_are_a_row_each(context: Context, tmp_path: Path) -> None:
    """AdaLoRA too, whose seeds end at different sizes; what has the size of found structures waits."""
    adaptive = {"method": "adalora", "size": 2, "learning_rates": [0.01]}
    config = small_config(baselines=[adaptive, {"method": "head", "learning_rates": [0.01]}, "uniform"])
    pool = JobRunner(replace(context, config=config), tmp_path)
    table = train_baselines(pool).set_index("method")
    assert list(table.index) == ["AdaLoRA r=2", "linear head"]
    kept = [Trained.read(path) for path in tmp_path.glob("adalora*.train.json")]
    assert len(kept) == config.seeds
    qualities = [result.validation.quality for result in kept]
    assert table.loc["AdaLoRA r=2", "validation"] == f"{fmean(qualities):.3f} ± {stdev(qualities):.3f}"
    sized = JobRunner(replace(context, config=small_config(baselines=["uniform"])), tmp_path)
    with pytest.raises(SlatError, match="none is there that need not wait"):
        train_baselines(sized)


@pytest.mark.slow
def test_own_weights_are_those_of_a_search_for_each_seed(context: Context, tmp_path: Path) -> None:
    """Held at the size that the trial found; what is saved and served is the structure of the best seed."""
    sites = find_sites(context.backbone().model)
    sampled = {"learning_rate": 0.003, "noise_kind": "none", "noise_ratio": 0.0, "kinds": "lora", "sparsity": 0.05}
    trials = [
        Trial(n, sampled, "completed", structure=s) for n, s in enumerate((Structure.lora(sites, 1), Structure()))
    ]
    config = small_config(
        search={"final_weights": ["inherited"], "refit_learning_rates": [0.01]}, baselines=[{"method": "head"}]
    )
    pool = JobRunner(replace(context, config=config), tmp_path / "units")
    finals, selection = train_finals(pool, trials, RunFolder(tmp_path))
    tested = pool.evaluate([job for _, job in finals])
    result = {contender.title: [u for c, u in finals if c is contender] for contender, _ in finals}
    assert list(result) == ["SLAT 9.2k (trial 0), own weights", "SLAT 0 (trial 1)", "linear head"]
    searched = result["SLAT 9.2k (trial 0), own weights"]
    assert [(job.method, job.seed) for job in searched] == [("search", 0), ("search", 1)]
    structures = [Structure.from_dict(pool.structure_job(job).options["structure"]) for job in searched]
    trained = pool.train(searched)
    best = best_seeds(pool, finals)
    assert structures[0] != structures[1]
    assert all(0.9 * 9216 < s.params <= 9216 and {m.kind for m in s.modules} == {"lora"} for s in structures)
    label = searched[0].label
    assert trained[best[label].key].validation.quality == max(r.validation.quality for r in trained.values())
    assert Structure.load(tmp_path / "structures" / f"{label}.json") == structures[best[label].seed]
    assert Selection.of(RunFolder(tmp_path)) == selection
    assert [final.structure for final in selection.finals[:2]] == [s.digest for s in structures]
    write_adapter(
        tmp_path / "served",
        context,
        pool.structure_job(best[label]),
        pool.state(best[label]),
        trained[best[label].key].validation,
    )
    examples = load_task(config.task, config.seed).splits["test"]
    predictions = load_predictor(tmp_path / "served")([example.texts for example in examples]).argmax(axis=1)
    right = np.mean(predictions == [example.label for example in examples])
    assert right == pytest.approx(tested[best[label].key].quality)


def test_the_bare_head_is_a_member_only_where_nothing_else_was_found() -> None:
    """It is the best of those that cost nothing, so by rank alone it would always take a place; it is a baseline."""

    def trial(number: int, structure: Structure, quality: float) -> Trial:
        measures = {"quality": quality, "quality_perturbed": 0.9 * quality, "retained": 0.9, "loss": 1.0}
        report = Report(**measures, step=1, params=structure.params, atoms=1, seconds=0.0)
        return Trial(number, {}, "completed", history=(report,), structure=structure)

    site = Site(0, "layer.0.q", "q", 8, 8)
    bare = trial(0, Structure(), 0.9)
    small, large = trial(1, Structure.lora((site,), r=1), 0.85), trial(2, Structure.lora((site,), r=4), 0.92)
    assert {t.number for t in choose([bare, small, large], 3)} == {1, 2}
    assert choose([bare], 3) == [bare]
