"""One validated model of the YAML."""

from .baselines import Baseline
from .differences import differences, told
from .load import as_config, load_config
from .model import (
    Config,
    Evaluation,
    Model,
    Resources,
    Training,
)
from .multitask import MultiTask
from .search import (
    ALL_KINDS,
    Objective,
    Range,
    Sampled,
    Scheduler,
    Search,
)
from .secrets import check_secrets, without_secrets
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
    "MultiTask",
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
    "as_config",
    "check_secrets",
    "differences",
    "load_config",
    "told",
    "without_secrets",
]
