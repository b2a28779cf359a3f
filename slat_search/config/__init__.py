"""One validated model of the YAML."""

from .load import load_config
from .model import (
    Baseline,
    Config,
    Evaluation,
    Model,
    Resources,
    Training,
)
from .search import ALL_KINDS, Objective, Range, Sampled, Scheduler, Search
from .sensitivity import Sensitivity
from .supernet import Candidate, GatesConfig, SpaceConfig
from .task import Task

__all__ = [
    "ALL_KINDS",
    "Baseline",
    "Candidate",
    "Config",
    "Evaluation",
    "GatesConfig",
    "Model",
    "Objective",
    "Range",
    "Resources",
    "Sampled",
    "Scheduler",
    "Search",
    "Sensitivity",
    "SpaceConfig",
    "Task",
    "Training",
    "load_config",
]
