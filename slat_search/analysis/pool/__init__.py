"""Analysis of a run over several tasks that share a pool."""

from .report import analyse_pool

__all__ = ["analyse_pool"]
