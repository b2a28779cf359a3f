"""The command line. Thin: every command calls one function of the library."""

from . import exporting, looking, results, starting, training  # each adds its commands to the group
from .group import main

__all__ = ["exporting", "looking", "main", "results", "starting", "training"]
