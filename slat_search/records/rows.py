"""Records of rows in tables of a run; their fields are the columns."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .base import Record

How = Literal["one pool", "each alone"]
POOLED: How = "one pool"
ALONE: How = "each alone"


class ResultRow(Record):
    """Row of ``results.csv``: one method on one task, trained with one seed.

    Attributes:
        task, model: names.
        family: ``slat`` for what the search found, else ``baseline``.
        method: label of the method.
        name: of the method, in tables.
        tuned_as: its name in the record of what was tried.
        how: whether the tasks of the run trained together, or each alone; a single task is a pool of one.
        structure: digest of what was found.
        group: name where runs are compared.
        budget: size that the method was made for, if it was made in the size of a found structure.
        validation, validation_retained: measures on the task's validation texts.
        quality, retained: on its test texts, clean; and the area under the perturbed ones.
        test_loss: on clean test text; nan where an earlier version did not keep it.
        params, bytes: of all tasks of the run together.
        own: parameters that the task uses.
        params_percent, compression: of the backbone and against it, by ``params``.
        head_params: of all heads.
        train_seconds, memory, steps: of the training.
        seconds_per_text: of a clean test text, in batches.
        seconds_of_one: of a single text; nan where an earlier version did not measure it.
    """

    task: str
    model: str
    family: str
    method: str
    name: str
    tuned_as: str
    how: How
    structure: str
    group: str
    budget: int | None
    seed: int
    learning_rate: float
    noise_kind: str
    noise_ratio: float
    validation: float
    validation_retained: float
    quality: float
    retained: float
    params: int
    own: int
    bytes: float | None
    params_percent: float
    compression: float
    head_params: int
    train_seconds: float
    seconds_per_text: float
    memory: int | None
    steps: int
    test_loss: float = np.nan
    seconds_of_one: float = np.nan


class PerturbationRow(Record):
    """Row of ``perturbation.csv``: quality of one training on one task under one kind and ratio, 0 included."""

    task: str
    method: str
    seed: int
    kind: str
    ratio: float
    quality: float


class TransferRow(Record):
    """Row of ``transfer.csv``: what the task ``of`` uses of a pool, trained on the task ``on``."""

    of: str
    on: str
    seed: int
    params: int
    quality: float


class StudyRow(Record):
    """Row of ``results.csv`` of sensitivity studies: one point; nan where its training diverged.

    Attributes:
        study, method, kind, value: see :class:`.StudyPoint`.
        shared: part of a pool's parameters that several tasks use; nan where there is none.
        quality: on clean test text, of several tasks their mean.
        error: why the training diverged.
    """

    study: str
    method: str
    kind: str
    value: float | None
    seed: int
    learning_rate: float
    params: float = np.nan
    shared: float = np.nan
    validation: float = np.nan
    quality: float = np.nan
    seconds: float = np.nan
    error: str = ""
