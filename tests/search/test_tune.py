"""What becomes of a search whose trials raise, on a real Ray."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ray import cloudpickle, tune

from slat_search import SlatError
from slat_search.models.task_model import TaskModel
from slat_search.search.runtime import ray_session
from slat_search.search.tune import run_search
from slat_search.training.context import Context
from tests.conftest import small_config

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not import tests
_ATTEMPTS = 4  # of a trial: the first, and three again


@dataclass(frozen=True)
class Breaking(Context):
    """Raises the first so many times that a trial is begun; ``begun`` counts, over processes."""

    begun: Path
    times: int

    def models(self) -> list[TaskModel]:
        with self.begun.open("a") as file:
            file.write("x")
        if self.begun.stat().st_size <= self.times:
            raise RuntimeError("the device fell off the bus")
        return super().models()


@pytest.mark.slow
def test_a_trial_that_raises_is_tried_again_and_then_left(
    context: Context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    breaking = Breaking(**vars(context), begun=tmp_path / "begun", times=_ATTEMPTS)
    caplog.set_level("INFO", "slat_search")
    with ray_session():
        trials = run_search(breaking, tmp_path)
        assert trials[0].status == "failed"
        assert "the device fell off the bus" in trials[0].error
        assert all(trial.status in ("completed", "stopped") for trial in trials[1:])
        assert len(trials) == context.config.search.trials
        histories = [trial.history for trial in trials[1:]]
        again = run_search(breaking, tmp_path)
    assert "search: going on; 3 of 4 trials are over" in caplog.messages
    assert [trial.number for trial in again] == [0, 1, 2, 3]
    assert again[0].status in ("completed", "stopped")
    assert [trial.history for trial in again[1:]] == histories


@pytest.mark.slow
def test_a_search_whose_trials_all_raise_is_one_sentence(context: Context, tmp_path: Path) -> None:
    breaking = Breaking(**vars(context), begun=tmp_path / "begun", times=1000)
    with ray_session(), pytest.raises(SlatError, match=r"every trial failed \(1\); the first: .*fell off the bus"):
        run_search(replace(breaking, config=small_config(search={"trials": 1})), tmp_path)


class Seen(tune.Callback):
    """Notes what Ray Tune tells callbacks."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.ended = 0

    def on_trial_result(self, iteration: int, trials: list, trial: object, result: dict, **info: object) -> None:
        self.steps.append(result["step"])

    def on_trial_complete(self, iteration: int, trials: list, trial: object, **info: object) -> None:
        self.ended += 1


@pytest.mark.slow
def test_callbacks_of_ones_own_see_every_report(context: Context, tmp_path: Path) -> None:
    seen = Seen()
    with ray_session():
        one = replace(context, config=small_config(search={"trials": 1}))
        (trial,) = run_search(one, tmp_path, callbacks=[seen])
    assert seen.steps == [report.step for report in trial.history]
    assert seen.ended == 1
