"""Gate kinds, each a class. Adding one: write a :class:`.Gates` and one entry in ``GATES``."""

from .base import Gates
from .measured import MeasuredGates
from .saliency import Saliency
from .screening import Screening
from .task_gates import TaskGates
from .trained import HardConcrete, Sigmoid, TrainedGates

GATES: dict[str, type[Gates]] = {
    "sigmoid": Sigmoid,
    "hard_concrete": HardConcrete,
    "saliency": Saliency,
    "screening": Screening,
}

__all__ = [
    "GATES",
    "Gates",
    "HardConcrete",
    "MeasuredGates",
    "Saliency",
    "Screening",
    "Sigmoid",
    "TaskGates",
    "TrainedGates",
]
