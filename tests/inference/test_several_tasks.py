"""An adapter of several tasks as a folder: all from one file, each task from its own, and the command line."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file

from slat_search import SlatError
from slat_search.cli import main
from slat_search.config import Config
from slat_search.inference import addition
from slat_search.inference.addition import add_task
from slat_search.inference.predictor import load_predictor
from slat_search.inference.saved import adapter_folder, read_saved, write_adapter
from slat_search.records import SavedAdapter
from slat_search.structure import SharedStructure, Space, find_sites
from slat_search.structure.space import Candidate
from slat_search.training.context import Context, prepare
from slat_search.training.jobs import TrainingJob, apply_job
from slat_search.training.protocol import trained_arrays
from tests.conftest import small_config
from tests.export.folders import MEASURES
from tests.inference.test_predictor import earlier
from tests.structure.test_kinds import shake
from tests.training.test_pool import TASKS, several

TEXTS: dict[str, list] = {
    "bbc-headline": ["Chelsea win away at Arsenal"],
    "bbc-topic": ["Shares fell after the bank raised its rates."],
    "bbc-match": [("Chelsea win away", "The match ended two to nil.")],
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool whose tasks use different parts of it, with weights that show; as a run leaves it."""
    pool: Context = prepare(several())[0]
    backbone = pool.backbone().model
    space = Space({"lora": Candidate(2), "serial": Candidate(2), "bias": Candidate(1)})
    whole = space.supernet(find_sites(backbone)).random_part(9000, seed=1)
    jobs = sum(m.size for m in whole.modules)
    rng = np.random.default_rng(0)
    users = tuple(tuple(sorted(rng.choice(3, size=rng.integers(1, 4), replace=False).tolist())) for _ in range(jobs))
    structure = SharedStructure(tuple(task["name"] for task in TASKS), whole, users)
    job = TrainingJob("slat", "slat-abc", 3e-3, 0, options={"structure": structure.to_dict()})
    models = pool.models()
    applied = apply_job(job, backbone)
    assert applied.module is not None
    shake(applied.module)
    state = trained_arrays(applied.saved(), models)
    applied.undo()
    run = tmp_path_factory.mktemp("pool")
    measures = MEASURES.model_copy(update={"tasks": {task["name"]: MEASURES for task in TASKS}})
    write_adapter(run / "adapters" / "slat-abc", pool, job, state, measures)
    (run / "adapters" / "best.json").write_text(json.dumps({"adapter": "slat-abc"}))
    return run


def test_all_tasks_from_one_file_say_what_each_says_from_its_own(saved: Path) -> None:
    folder = saved / "adapters" / "slat-abc"
    predict = load_predictor(folder)
    assert predict.tasks == load_predictor(saved).tasks == tuple(TEXTS)
    for task in (*TEXTS, "bbc-headline"):  # back and forth
        alone = load_predictor(folder / task)
        assert predict.of(task).labels == alone.labels
        np.testing.assert_allclose(predict(TEXTS[task], task), alone(TEXTS[task]), atol=1e-5)
    assert len({np.round(predict(TEXTS[task], task)[0, 0], 6) for task in TEXTS}) == 3
    with pytest.raises(SlatError, match="no task 'cola'; there are bbc-headline, bbc-topic, bbc-match"):
        predict(["text"], "cola")
    with pytest.raises(SlatError, match="several tasks; name one of bbc-headline"):
        predict(["text"])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_pool_of_an_earlier_version_predicts_the_same(saved: Path, tmp_path: Path, number: int) -> None:
    folder, old = saved / "adapters" / "slat-abc", tmp_path / "slat-abc"
    adapter = SavedAdapter.read(folder / "adapter.json")
    raw = {"format": f"slat-pool/{number}", "model": adapter.model.model_dump(), "tasks": {}}
    raw["structure"] = adapter.job.options["structure"]
    for task in adapter.tasks:
        shutil.copytree(folder / task, old / task)
        raw["tasks"][task] = earlier(old / task, number)
        (old / task / "adapter.json").write_text(json.dumps(raw["tasks"][task]))
    (old / "shared.json").write_text(json.dumps(raw))
    weights = load_file(folder / "adapter.safetensors")
    if number == 2:  # as `add-task` wrote one
        weights["scales"] = weights["adapter.scales"]
    del weights["adapter.scales"]
    save_file(weights, old / "shared.safetensors")
    predict, again = load_predictor(folder), load_predictor(old)
    for task in TEXTS:
        assert np.array_equal(again(TEXTS[task], task), predict(TEXTS[task], task))
    part = load_predictor(old, task="bbc-topic")
    np.testing.assert_allclose(part(TEXTS["bbc-topic"]), predict(TEXTS["bbc-topic"], "bbc-topic"), atol=1e-6)


def test_hand_made_modules_serve_all_tasks_from_one_file(tmp_path: Path) -> None:
    pool, _ = prepare(several())
    job = TrainingJob("lora", "lora-2", 1e-3, 0, options={"size": 2, "roles": ["q"]})
    models = pool.models()
    applied = apply_job(job, pool.backbone().model)
    state = trained_arrays({name: value + 0.1 for name, value in applied.trained().items()}, models)
    applied.undo()
    write_adapter(tmp_path / "lora-2", pool, job, state, MEASURES)
    predict = load_predictor(tmp_path / "lora-2")
    for task in TEXTS:
        np.testing.assert_allclose(predict(TEXTS[task], task), load_predictor(tmp_path / "lora-2" / task)(TEXTS[task]))


def test_the_command_line_asks_whose_adapter(saved: Path) -> None:
    command = ["predict", str(saved), "--text", "Chelsea win away at Arsenal"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "one of bbc-headline, bbc-match, bbc-topic is needed" in refused.stderr
    pool = saved / "adapters" / "slat-abc"  # as `add-task` leaves one in a folder of its own
    assert adapter_folder(pool, task="bbc-topic") == adapter_folder(saved, task="bbc-topic") == pool / "bbc-topic"
    with pytest.raises(SlatError, match="one of bbc-headline, bbc-match, bbc-topic is needed"):
        adapter_folder(pool)
    result = CliRunner().invoke(main, [*command, "--task", "bbc-headline", "--json"])
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["probabilities"]) == set(
        load_predictor(saved / "adapters/slat-abc/bbc-topic").labels
    )


def one_more(folder: Path) -> Config:
    """The configuration of a task of one's own, whose texts are written into a folder."""
    rows = [f"{word} {i},{word}" for i in range(20) for word in ("sport", "business")]
    (folder / "again.csv").write_text("text,label\n" + "\n".join(rows))
    return small_config(
        name="four",
        task={"name": "again", "train": str(folder / "again.csv")},
        training={"steps": 12, "batch_size": 8},
        space={"kinds": {"lora": {"size": 2}, "serial": {"size": 2}, "norm": {"size": 1}}},
    )


@pytest.mark.parametrize(
    "pressure",
    [["--sparsity", "0.05"], pytest.param(["--budget", "3000", "--sharing", "1"], marks=pytest.mark.slow)],
)
def test_a_task_is_added_and_the_others_stay_bit_for_bit(saved: Path, tmp_path: Path, pressure: list[str]) -> None:
    folder, out = saved / "adapters" / "slat-abc", tmp_path / "four"
    (tmp_path / "four.yaml").write_text(one_more(tmp_path).to_yaml())
    command = ["add-task", str(folder), str(tmp_path / "four.yaml"), "--out", str(out), *pressure]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("again: validation ")
    before, after = load_predictor(folder), load_predictor(out)
    assert after.tasks == (*before.tasks, "again")
    for task in before.tasks:
        for name in ("adapter.json", "adapter.safetensors"):
            assert (out / task / name).read_bytes() == (folder / task / name).read_bytes()
        assert np.array_equal(load_predictor(out / task)(TEXTS[task]), load_predictor(folder / task)(TEXTS[task]))
        np.testing.assert_allclose(after(TEXTS[task], task), before(TEXTS[task], task), atol=1e-6)
    texts = ["sport 99", "business 99"]
    alone = load_predictor(out / "again")
    np.testing.assert_allclose(after(texts, "again"), alone(texts), atol=1e-5)
    old, new = (
        SharedStructure.from_dict(SavedAdapter.read(place / "adapter.json").job.options["structure"])
        for place in (folder, out)
    )
    assert {task: new.of(task) for task in old.tasks} == {task: old.of(task) for task in old.tasks}
    assert f"{new.params - old.params:,} of them new" in done.stdout
    again = CliRunner().invoke(main, command)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)


def test_a_task_that_cannot_be_written_leaves_nothing(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk."""

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(addition, "write_saved", no_space)
    config = one_more(tmp_path)
    sampled = {"learning_rate": 0.01, "sparsity": 0.05, "sharing": 0.5}
    with pytest.raises(OSError, match="No space left"):
        add_task(saved / "adapters" / "slat-abc", config, tmp_path / "out", sampled)
    assert [path.name for path in tmp_path.iterdir()] == ["again.csv"]


def test_the_tasks_of_a_pool_are_those_of_its_structure(saved: Path, tmp_path: Path) -> None:
    adapter = SavedAdapter.read(saved / "adapters" / "slat-abc" / "adapter.json")
    first, *others = adapter.tasks.items()
    adapter.model_copy(update={"tasks": dict([*others, first])}).write(tmp_path / "adapter.json")
    with pytest.raises(SlatError, match=r"adapter\.json: damaged \(its structure is of the tasks bbc-headline, "):
        read_saved(tmp_path)


def test_a_task_is_added_to_a_found_pool_alone(saved: Path, tmp_path: Path) -> None:
    config = small_config(task={"name": "bbc-headline", "max_rows": 48})
    with pytest.raises(SlatError, match="bbc-topic: holds no pool that a search over several tasks found"):
        add_task(saved / "adapters" / "slat-abc" / "bbc-topic", config, tmp_path / "out", {"learning_rate": 0.01})
    with pytest.raises(SlatError, match=r"adapter\.json: no such file"):
        add_task(tmp_path, config, tmp_path / "out", {"learning_rate": 0.01})
