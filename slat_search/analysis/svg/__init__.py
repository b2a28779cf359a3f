"""Maps of structures as SVG inside a page; their cells answer to pointer and keyboard."""

from .gate_map import gate_map, gate_map_legend, kind_styles

__all__ = ["gate_map", "gate_map_legend", "kind_styles"]
