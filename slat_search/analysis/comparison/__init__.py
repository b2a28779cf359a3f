"""Comparison over finished runs: tasks, models, searches."""

from .report import compare_runs

__all__ = ["compare_runs"]
