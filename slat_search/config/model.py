"""One validated model of the YAML. Every field has a default and says what it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from .baselines import Baseline, entries
from .duration import Duration
from .multitask import MultiTask
from .presets import Preset, with_preset
from .search import Search
from .section import (
    Fraction,
    Positive,
    Section,
    by_name,
    check_all,
)
from .sensitivity import Sensitivity
from .supernet import GatesConfig, SpaceConfig
from .task import Task

PerturbationKind = Literal[
    "typos",
    "keyboard",
    "char_swap",
    "char_drop",
    "char_insert",
    "homoglyph",
    "punctuation",
    "case",
    "whitespace",
    "word_drop",
    "word_swap",
    "word_duplicate",
    "distraction",
]

_FOLDER = r"[A-Za-z0-9][A-Za-z0-9_.-]*"


class Model(Section):
    """The frozen transformer."""

    name: str = Field(
        "minilm",
        description="`minilm` or `gemma-270m` (embedded), a local folder, or a name on the Hugging Face hub",
    )
    revision: str | None = Field(
        None,
        min_length=1,
        description="branch, tag or commit of a model on the hub. Default: the newest; the commit that was read is "
        "kept with run and adapter, and read again by them",
    )
    trust_remote_code: bool = Field(
        False,
        description="allow Python code shipped with the model; only for code that you know. An adapter of such a model "
        "runs only if the caller allows it again",
    )
    pooling: Literal["mean", "first", "last"] = Field("mean", description="how token vectors become one vector")
    dropout: bool = Field(False, description="keep the backbone's own dropout while training")
    weights: Literal["float32", "bfloat16", "nf4", "int8"] = Field(
        "float32",
        description="what the frozen weights are kept in, whatever they were saved in. bfloat16 halves their memory "
        "and that of activations, for large models on GPUs; `nf4` and `int8` keep those of the blocks in 4 and 8 "
        "bits, by the bitsandbytes library. What is trained stays float32",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="recompute activations in the backward pass instead of storing them: less memory for about a "
        "third more time, for large models on GPUs",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of products of float32 matrices; what is stored and summed stays float32. bfloat16 is faster on "
        "CPUs with AMX and on GPUs (there TF32 or bfloat16), and slower on CPUs without",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_name(cls, data: Any) -> Any:
        return by_name(data)


class Training(Section):
    """Settings that every method shares: steps, batch, schedule."""

    steps: int = Field(
        150, ge=1, description="optimizer steps of each full training; where there are several `tasks`, of all together"
    )
    batch_size: int = Field(32, ge=1, description="sequences a step")
    accumulation: int = Field(
        1,
        ge=1,
        description="micro-batches of a batch, whose gradients add up: the same numbers in less memory. It doubles by "
        "itself when the memory of a GPU is full",
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay on adapter and head")
    warmup: Fraction = Field(0.06, description="share of the steps with a rising learning rate; then linear decay")
    head_learning_rate: Positive = Field(0.01, description="learning rate of the task head, the same for all methods")
    head_first: Fraction = Field(
        0.1,
        description="share of the steps in which the head trains alone before the modules of a baseline or of a "
        "retrained structure join it (LP-FT, arXiv 2202.10054), as in the warm-up of a search",
    )


class Evaluation(Section):
    """Robustness: the test set under perturbed input."""

    kinds: tuple[PerturbationKind, ...] = Field(
        ("typos", "word_drop"), min_length=1, description="kinds of perturbation"
    )
    ratios: tuple[Fraction, ...] = Field(
        (0.05, 0.1, 0.15, 0.2),
        min_length=1,
        description="shares of perturbed words, one of them above 0; 0 is always added",
    )
    rung_kind: PerturbationKind = Field("typos", description="perturbation of validation text at every rung")
    rung_ratio: Fraction = Field(0.2, description="its ratio")


class Resources(Section):
    """Resources that Ray may use."""

    concurrent_trials: int | None = Field(
        None,
        ge=1,
        description="search trials at the same time. Default: as many as the GPUs take; without GPUs 1, which fixes "
        "the order, so that the same seed repeats the search",
    )
    cpus_per_trial: int | None = Field(
        None, ge=1, description="CPU threads of a trial; default: all CPUs / concurrent trials"
    )
    trials_per_gpu: int | None = Field(
        None,
        ge=0,
        description="trials that share a GPU, each with its part of the memory; 0 keeps them on CPUs. Default: 1, or "
        "as many as `concurrent_trials` asks for; none where there is no GPU. Say it where an autoscaler has yet to "
        "start GPUs",
    )
    patience: Duration | None = Field(
        None,
        description="time without a step or a batch of an evaluation, such as `20m`, after which a worker is ended and "
        "its work tried again, three times at most. Default: 10 minutes, or 50 times the longest pause so far where "
        "that is more, and 30 minutes to the first step",
    )


class Config(Section):
    """A whole run."""

    name: str = Field("run", description="names the run folder")
    preset: Preset = Field(
        "good",
        description="values of missing fields: `quick` (6 trials, 1 structure, 1 seed, LoRA and head), `good` (the "
        "defaults), `best` (64 trials, 4 structures, 5 seeds, fifteen baselines)",
    )
    seed: int = Field(0, ge=0, description="everything random follows from it")
    seeds: int = Field(2, ge=1, description="repetitions of every final training")
    task: Task = Task()
    tasks: tuple[Task, ...] = Field(
        (),
        description="in the place of `task`: two or more that share one pool of modules, by name or as sections",
    )
    multitask: MultiTask = MultiTask()
    model: Model = Model()
    training: Training = Training()
    space: SpaceConfig = SpaceConfig()
    gates: GatesConfig = GatesConfig()
    search: Search = Search()
    baselines: tuple[Baseline, ...] = Field(
        "few",
        validate_default=True,
        description="what found structures are compared with: a list of methods, each by its name or with fields; or a "
        "set: `tiny` (methods of few parameters), `few` (LoRA, Houlsby, BitFit, head), `standard` (fifteen), `all`",
    )
    evaluation: Evaluation = Evaluation()
    sensitivity: Sensitivity = Sensitivity()
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, data: Any) -> Any:
        """Fill in the fields of the preset; ``task`` becomes a copy of the first of several ``tasks``."""
        data = with_preset(data) if isinstance(data, dict) else data
        if not isinstance(data, dict) or not isinstance(data.get("tasks"), list | tuple) or not data["tasks"]:
            return data
        return {"task": data["tasks"][0], **data}

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(_FOLDER, name):
            raise ValueError("should begin with a letter or digit and have letters, digits, _, . and - alone")
        return name

    @field_validator("baselines", mode="before")
    @classmethod
    def _expand_names(cls, raw: Any) -> Any:
        return entries(raw)

    @field_validator("baselines")
    @classmethod
    def _check_distinct(cls, baselines: tuple[Baseline, ...]) -> tuple[Baseline, ...]:
        for names in ([b.label for b in baselines], [b.title for b in baselines]):
            duplicate = next((name for name in names if names.count(name) > 1), None)
            if duplicate:
                raise ValueError(f"{duplicate} stands there twice; give its learning rates in one entry")
        return baselines

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        check_all([*self._space_problems(), *(self._pool_problems() if self.tasks else ())])
        return self

    def _space_problems(self) -> Iterator[str]:
        try:
            if not self.kind_sets:
                yield "space.kinds: every kind has size 0, so there is nothing to search"
        except ValueError as error:  # a set that names a kind that the space lacks
            yield str(error)
        if self.model.weights in ("nf4", "int8") and any(baseline.method == "full" for baseline in self.baselines):
            yield f"baselines: full fine-tuning has nothing to train in weights of {self.model.weights}"
        if "quality_worst" in self.search.scheduler.objectives and not self.tasks:
            yield "search.scheduler.objectives: quality_worst is that of several tasks; there is one"

    def _pool_problems(self) -> Iterator[str]:
        names = [task.name for task in self.tasks]
        if len(set(names)) < max(2, len(names)):
            yield "tasks: two or more with different names share a pool; one alone is `task`"
        if invalid := [name for name in names if not re.fullmatch(_FOLDER, name)]:
            yield f"tasks: {invalid[0]!r} cannot name a folder; give the task another name"
        if self.task != self.tasks[0]:
            yield "task and tasks are one task and several; give one of them"
        if len({task.is_prompted for task in self.tasks}) > 1:
            yield "tasks: some have a prompt and some have none; the model has either a head or words"
        if self.search.method == "static":
            yield "search.method: a static search has no gates that tasks could share; leave out tasks"
        unknown = set(self.multitask.alone or ()) - {"slat", *(baseline.method for baseline in self.baselines)}
        if unknown:
            yield f"multitask.alone: {min(unknown)} is neither slat nor one of the baselines"

    def of_task(self, number: int) -> Config:
        """Return the configuration of one task alone, with an equal share of the steps."""
        steps = max(1, self.training.steps // len(self.tasks))
        training = self.training.model_copy(update={"steps": steps})
        return self.model_copy(update={"task": self.tasks[number], "tasks": (), "training": training})

    @property
    def kind_sets(self) -> tuple[str, ...]:
        """Sets of candidate kinds that trials sample from: ``all``, or names joined by ``+``."""
        return self.search.space.kind_sets([kind for kind, c in self.space.kinds.items() if c.size])

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
