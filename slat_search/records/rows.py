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
        tuned_as: its name in the record of tuning.
        how: whether the tasks of the run trained together, or each alone; a single task is a pool of one.
        structure: digest of the found structure.
        group: name in comparisons of runs.
        budget: size of the found structure that the method was made to match, if there is one.
        validation, validation_retained: measures on the task's validation texts.
        quality, retained: on its clean test texts; and the area under the qualities on perturbed ones.
        test_loss: on clean test text; nan from an earlier version, which did not store it.
        params, bytes: of all tasks of the run together.
        own: parameters that the task uses.
        params_percent, compression: ``params`` in percent of the backbone's, and the backbone's over ``params``.
        head_params: of all heads.
        train_seconds, memory, steps: of the training.
        seconds_per_text: of a clean test text, in batches.
        seconds_of_one: of a single text; nan from an earlier version, which did not measure it.
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
    """Row of ``perturbation.csv``: quality of one training on one task under one kind and ratio, including 0."""

    task: str
    method: str
    seed: int
    kind: str
    ratio: float
    quality: float


class TransferRow(Record):
    """Row of ``transfer.csv``: the part of a pool that the task ``of`` uses, trained on the task ``on``."""

    of: str
    on: str
    seed: int
    params: int
    quality: float


class StudyRow(Record):
    """Row of ``results.csv`` of sensitivity studies: one point; nan where its training diverged.

    Attributes:
        study, method, kind, value: see :class:`.StudyPoint`.
        shared: fraction of a pool's parameters that several tasks use; nan without a pool.
        quality: on clean test text; for several tasks their mean.
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
