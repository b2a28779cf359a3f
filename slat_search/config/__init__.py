"""One validated model of the YAML."""

from .load import load_config
from .model import (
    Baseline,
    Config,
    Evaluation,
    Model,
    Objective,
    Range,
    Resources,
    Sampled,
    Scheduler,
    Search,
    Training,
)
from .supernet import Candidate, GatesConfig, SpaceConfig
from .task import Task

__all__ = [
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
    "SpaceConfig",
    "Task",
    "Training",
    "load_config",
]
