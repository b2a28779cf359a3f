"""Frozen backbones: their names, how they are loaded and checked, and the heads on them."""
