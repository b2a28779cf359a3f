"""Fixed trainings and test evaluations as Ray tasks, each stored on completion."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..search.runtime import Share, share  # first: sets Ray's environment

import ray  # isort: skip

from ..errors import SlatError
from ..files import load_arrays, save_arrays
from ..records import (
    Failed,
    Tested,
    Trained,
    TrainingJob,
    read_training,
)
from ..search.overall import RunProgress
from ..search.pulse import heartbeat
from ..search.watchdog import Watchdog
from ..training.context import Context
from ..training.jobs import evaluate_job, test_steps, train_job
from ..training.loop import DivergedError
from ..training.memory import OutOfMemoryError
from ..training.protocol import State

_log = logging.getLogger(__name__)
#: record of a job -> the arrays that belong to it
_ARRAYS = {"train.json": "safetensors", "test.json": "test.safetensors"}
_RETRIES = 3  # of a task whose worker was killed
_LOOK = 2.0  # seconds that results are waited for before workers are looked after


def _train(context: Context, job: TrainingJob, share: Share, key: str) -> tuple[Trained | Failed, State]:
    share.take(cpus=1)
    try:
        with heartbeat(context.frozen.model, key):
            return train_job(context, job)
    except (DivergedError, OutOfMemoryError) as error:
        return Failed(job=job, error=str(error)), {}


def _evaluate(context: Context, job: TrainingJob, state: State, share: Share, key: str) -> tuple[Tested, State]:
    share.take(cpus=1)
    with heartbeat(context.frozen.model, key):
        return evaluate_job(context, job, state)


class JobRunner:
    """Runs jobs on the cluster and stores results in ``folder``; a job with undamaged results is not rerun.

    A unit's weights are ``<key>.safetensors``, its validation result ``<key>.train.json`` (written after the weights);
    what it predicts on test ``<key>.test.safetensors``, its test result ``<key>.test.json`` (written last). One CPU
    thread a job gives the most jobs an hour on a CPU, and the same numbers on every machine size.

    Args:
        progress: of the whole run, to be told of finished jobs; a training counts under ``stage``.
    """

    def __init__(self, context: Context, folder: Path, progress: RunProgress | None = None, stage: str = "trainings"):
        self.folder = folder
        self.context = context
        self._progress, self._stage = progress or RunProgress({}), stage
        self._context = ray.put(context)
        self._share = share(context.config.resources)
        self._whole: set[Path] = set()
        options = {"num_cpus": 1, "num_gpus": self._share.gpus, "max_retries": _RETRIES}
        self._train = ray.remote(**options)(_train)
        self._evaluate = ray.remote(**options)(_evaluate)

    def train(self, jobs: Sequence[TrainingJob]) -> dict[str, Trained | Failed]:
        """Train those that are missing; returns the result of each by key."""
        missing = self._missing(jobs, "train.json", self._stage)
        dog = self._watchdog(self._stage)
        running = {self._train.remote(self._context, job, self._share, dog.key(job.key)): job for job in missing}
        for job, (result, state) in self._as_they_come(running, dog):
            for stale in ("test.json", "test.safetensors"):  # of weights that were damaged
                self._path(job, stale).unlink(missing_ok=True)
            if isinstance(result, Trained):
                save_arrays(self._path(job, "safetensors"), state)
            result.write(self._path(job, "train.json"))
            self._whole.add(self._path(job, "train.json"))
            self._note(self._stage, job)
            if isinstance(result, Failed):
                _log.info(f"train  {job.key}: {result.error}")
            else:
                v = result.validation
                _log.info(
                    f"train  {job.key:<36} validation {v.quality:.3f}  retained {v.retained:.1%}"
                    f"  {result.params:>9,} parameters  {result.seconds:.0f} s"
                )
        return {job.key: read_training(self._path(job, "train.json")) for job in jobs}

    def train_successful(self, jobs: Sequence[TrainingJob]) -> dict[str, Trained]:
        """Train as :meth:`train` does; returns the results of those that ended well."""
        return {key: result for key, result in self.train(jobs).items() if isinstance(result, Trained)}

    def evaluate(self, jobs: Sequence[TrainingJob]) -> dict[str, Tested]:
        """Test trained jobs; return results by key. A search is tested as its found structure."""
        missing = self._missing(jobs, "test.json", "test")
        dog = self._watchdog("test")
        running = {
            self._evaluate.remote(
                self._context, self.structure_job(job), self.state(job), self._share, dog.key(job.key)
            ): job
            for job in missing
        }
        for job, (result, predictions) in self._as_they_come(running, dog):
            save_arrays(self._path(job, "test.safetensors"), predictions)
            result.write(self._path(job, "test.json"))
            self._whole.add(self._path(job, "test.json"))
            self._note("test", job)
            _log.info(f"test   {job.key:<36} quality {result.quality:.3f}")
        return {job.key: Tested.read(self._path(job, "test.json")) for job in jobs}

    def state(self, job: TrainingJob) -> State:
        """Trained weights of a job.

        Raises:
            SlatError: missing or damaged.
        """
        return load_arrays(self._path(job, "safetensors"))

    def _note(self, stage: str, job: TrainingJob, fresh: bool = True) -> None:
        config = self.context.config
        steps = test_steps(self.context) if stage == "test" else config.training.steps
        self._progress.note(stage, f"{self.folder}/{job.key}", steps, fresh)

    def _missing(self, jobs: Sequence[TrainingJob], ending: str, stage: str) -> list[TrainingJob]:
        """Return the distinct jobs whose file is missing or damaged."""
        once = {job.key: job for job in jobs}.values()
        missing = [job for job in once if not self._is_whole(job, ending)]
        left = {job.key for job in missing}
        for job in once:
            if job.key not in left:
                self._note(stage, job, fresh=False)
        _log.debug(f"{len(once) - len(missing)} of {len(once)} {ending} are in {self.folder} already")
        return missing

    def structure_job(self, job: TrainingJob) -> TrainingJob:
        """Return the job of the structure that a search found; other jobs as they are."""
        if job.method != "search":
            return job
        trained = read_training(self._path(job, "train.json"))
        assert isinstance(trained, Trained)
        return replace(job, method="slat", options={"structure": trained.structure})

    def _is_whole(self, job: TrainingJob, ending: str) -> bool:
        """Whether a record and the arrays that belong to it are there and undamaged; damage is told in a warning.

        What was written here or found whole is not read again.
        """
        record = self._path(job, ending)
        if record in self._whole:
            return True
        if not record.exists():
            return False
        try:
            outcome = Tested.read(record) if ending == "test.json" else read_training(record)
            if not isinstance(outcome, Failed):
                load_arrays(self._path(job, _ARRAYS[ending]))
        except SlatError as error:
            _log.warning(f"{error}; it is made again")
            return False
        self._whole.add(record)
        return True

    def _path(self, job: TrainingJob, ending: str) -> Path:
        return self.folder / f"{job.key}.{ending}"

    def _watchdog(self, stage: str) -> Watchdog:
        return Watchdog(stage, self.context.config.resources.patience)

    def _as_they_come(self, running: dict[Any, TrainingJob], dog: Watchdog) -> Iterator[tuple[TrainingJob, Any]]:
        """Yield jobs with their results; jobs without a heartbeat are retried."""
        waiting = list(running)
        with closing(dog):
            while waiting:
                ready, waiting = ray.wait(waiting, timeout=_LOOK)
                if not ready:
                    dog.check([running[task].key for task in waiting])
                    continue
                dog.note_progress()
                job = running[ready[0]]
                yield job, _result(job, ready[0])


def _result(job: TrainingJob, task: Any) -> Any:
    """Return a worker's result.

    Raises:
        SlatError: that of the worker, or the worker was lost too often.
    """
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.as_instanceof_cause(), SlatError):
            raise SlatError(str(error.cause)) from error
        raise
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
        raise SlatError(
            f"{job.key}: lost its worker {1 + _RETRIES} times (killed, out of memory, or without a step for longer "
            "than `resources.patience`); everything finished is kept: continue with --resume"
        ) from error
