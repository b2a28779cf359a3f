"""The sensitivity studies: data, figures, the outcome in words, and their place in a report."""

from .data import Studies, read_studies
from .report import analyse_studies, section_of

__all__ = ["Studies", "analyse_studies", "read_studies", "section_of"]
