"""Frozen backbones: which there are, how they are loaded and checked, and the heads on them."""
