"""What passes between rooms or stands in a file of a run, as typed records with versions; no torch, no Ray."""

from .base import FileRecord, Record
from .config import KeptConfig, KeptTask
from .jobs import Failed, Measures, PerturbedQuality, Sets, TaskTest, Tested, Trained, Unit, read_training
from .rows import ALONE, POOLED, How, PerturbationRow, ResultRow, StudyRow, TransferRow
from .runs import (
    ALONE_LABEL,
    Environment,
    Final,
    ModelFacts,
    Recommended,
    ReferencePoint,
    Selection,
    StudyPoint,
    StudyPoints,
    TaskFacts,
    Tuning,
)
from .trials import Created, Decision, EarlierTrial, EarlierTrials, Ended, Event, Report, Reported, read_events

__all__ = [
    "ALONE",
    "ALONE_LABEL",
    "POOLED",
    "Created",
    "Decision",
    "EarlierTrial",
    "EarlierTrials",
    "Ended",
    "Environment",
    "Event",
    "Failed",
    "FileRecord",
    "Final",
    "How",
    "KeptConfig",
    "KeptTask",
    "Measures",
    "ModelFacts",
    "PerturbationRow",
    "PerturbedQuality",
    "Recommended",
    "Record",
    "ReferencePoint",
    "Report",
    "Reported",
    "ResultRow",
    "Selection",
    "Sets",
    "StudyPoint",
    "StudyPoints",
    "StudyRow",
    "TaskFacts",
    "TaskTest",
    "Tested",
    "Trained",
    "TransferRow",
    "Tuning",
    "Unit",
    "read_events",
    "read_training",
]
