"""Plots as SVG inside a page: sharp on paper, read without scripts; marks answer to pointer and keyboard."""

from .gate_map import gate_map, gate_map_legend, kind_styles
from .history import Progress, history
from .scatter import Point, scatter

__all__ = ["Point", "Progress", "gate_map", "gate_map_legend", "history", "kind_styles", "scatter"]
