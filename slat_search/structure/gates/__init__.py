"""Gates, one class per kind; :mod:`..gate_kinds` registers them."""

from ..gate_kinds import GATE_KINDS
from .base import Gates
from .measured import MeasuredGates
from .saliency import Saliency
from .screening import Screening
from .task_gates import TaskGates
from .trained import HardConcrete, Sigmoid, TrainedGates

GATES: dict[str, type[Gates]] = {name: kind.gates for name, kind in GATE_KINDS.items()}

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
