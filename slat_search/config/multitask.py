"""Section on several tasks that share one pool of modules."""

from __future__ import annotations

from typing import Literal, cast

from pydantic import Field

from ..structure.options import SearchOptions
from .section import Section

Worth = Literal["equal", "loss"]
Sampling = Literal["uniform", "proportional", "temperature"]


class MultiTask(Section):
    """How tasks train together; counts where `tasks` are given."""

    sampling: Sampling = Field(
        "uniform",
        description="batches of each task: as many of each, in proportion to its training texts, or to their number to "
        "the power 1 / `temperature`",
    )
    temperature: float = Field(2.0, ge=1, description="of the sampling; 1 is proportional, and more is more even")
    balance: Literal["plain", "uncertainty"] = Field(
        "plain", description="losses as they are, or weighed by a trained variance of each task (arXiv 1705.07115)"
    )
    worth: Worth = Field(
        cast(Worth, SearchOptions.worth),
        description="saliency: an atom's worth to a task is its share of the worth of all atoms to it, so that a task "
        "that learns late gets its part of the pool; or the loss increase of the task",
    )
    alone: tuple[str, ...] | None = Field(
        None,
        description="what is trained for each task alone as well, with its share of the steps: baselines by their "
        "method, and `slat`, a search for each task with an equal part of the pool's parameters; default: slat, and "
        "lora where it is among the baselines",
    )
    transfer: bool = Field(
        True,
        description="train what each task uses on each other task, beside a random structure of the same size",
    )
