"""Fixed trainings and test evaluations as Ray tasks, each stored as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .runtime import Share, share  # first: sets Ray's environment

import ray  # isort: skip
from safetensors.numpy import load_file, save_file

from ..errors import SlatError
from ..records import Failed, Tested, Trained, Unit, read_training
from ..training.loop import DivergedError
from ..training.memory import OutOfMemoryError
from ..training.pool import AnyContext
from ..training.protocol import State
from ..training.units import evaluate_unit, train_unit

_RETRIES = 3  # of a task whose worker was killed


def _train(context: AnyContext, unit: Unit, mine: Share) -> tuple[Trained | Failed, State]:
    mine.take(cpus=1)
    try:
        return train_unit(context, unit)
    except (DivergedError, OutOfMemoryError) as error:
        return Failed(unit=unit, error=str(error)), {}


def _evaluate(context: AnyContext, unit: Unit, state: State, mine: Share) -> tuple[Tested, State]:
    mine.take(cpus=1)
    return evaluate_unit(context, unit, state)


class UnitPool:
    """Runs units on the cluster and keeps their results in ``folder``; a unit that is there is not run again.

    A unit's weights are ``<key>.safetensors``, its validation result ``<key>.train.json`` (written after the weights);
    what it predicts on test ``<key>.test.safetensors``, its test result ``<key>.test.json`` (written last). One CPU
    thread a unit gives the most units an hour on a CPU, and the same numbers on every machine size.
    """

    def __init__(self, context: AnyContext, folder: Path, say: Callable[[str], None]):
        self.folder = folder
        self.context = context
        self._say = say
        self._context = ray.put(context)
        self._share = share(context.config.resources)
        options = {"num_cpus": 1, "num_gpus": self._share.gpus, "max_retries": _RETRIES}
        self._train = ray.remote(**options)(_train)
        self._evaluate = ray.remote(**options)(_evaluate)

    def train(self, units: Sequence[Unit]) -> dict[str, Trained | Failed]:
        """Train those that are missing; returns the result of each by key."""
        missing = self._missing(units, "train.json")
        jobs = {self._train.remote(self._context, u, self._share): u for u in missing}
        for unit, (result, state) in self._as_they_come(jobs):
            if state:
                self._store(unit, "safetensors", state)
            result.write(self._path(unit, "train.json"))
            if isinstance(result, Failed):
                self._say(f"train  {unit.key}: {result.error}")
            else:
                v = result.validation
                self._say(
                    f"train  {unit.key:<36} validation {v.quality:.3f}  retained {v.retained:.1%}"
                    f"  {result.params:>9,} parameters  {result.seconds:.0f} s"
                )
        return {unit.key: read_training(self._path(unit, "train.json")) for unit in units}

    def train_well(self, units: Sequence[Unit]) -> dict[str, Trained]:
        """Train as :meth:`train` does; returns the results of those that ended well."""
        return {key: result for key, result in self.train(units).items() if isinstance(result, Trained)}

    def evaluate(self, units: Sequence[Unit]) -> dict[str, Tested]:
        """Test units that were trained; returns results by key. What a search found stands as a structure."""
        missing = self._missing(units, "test.json")
        jobs = {self._evaluate.remote(self._context, self.as_found(u), self.state(u), self._share): u for u in missing}
        for unit, (result, predictions) in self._as_they_come(jobs):
            self._store(unit, "test.safetensors", predictions)
            result.write(self._path(unit, "test.json"))
            self._say(f"test   {unit.key:<36} quality {result.quality:.3f}")
        return {unit.key: Tested.read(self._path(unit, "test.json")) for unit in units}

    def state(self, unit: Unit) -> State:
        """Trained weights of a unit."""
        return load_file(self._path(unit, "safetensors"))

    def _missing(self, units: Sequence[Unit], ending: str) -> list[Unit]:
        """Those without such a file, each once."""
        return [u for u in {u.key: u for u in units}.values() if not self._path(u, ending).exists()]

    def as_found(self, unit: Unit) -> Unit:
        """What a search found stands as a structure of its own; other units stay as they are."""
        if unit.method != "search":
            return unit
        trained = read_training(self._path(unit, "train.json"))
        assert isinstance(trained, Trained)
        return replace(unit, method="slat", options={"structure": trained.structure})

    def _store(self, unit: Unit, ending: str, arrays: State) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self._path(unit, "part")
        save_file(arrays, part)
        part.replace(self._path(unit, ending))

    def _path(self, unit: Unit, ending: str) -> Path:
        return self.folder / f"{unit.key}.{ending}"

    def _as_they_come(self, jobs: dict[Any, Unit]) -> Iterator[tuple[Unit, Any]]:
        waiting = list(jobs)
        while waiting:
            ready, waiting = ray.wait(waiting)
            try:
                yield jobs[ready[0]], ray.get(ready[0])
            except ray.exceptions.RayTaskError as error:
                cause = error.as_instanceof_cause()
                if isinstance(cause, SlatError):
                    raise SlatError(str(error.cause)) from error
                raise
