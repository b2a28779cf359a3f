"""Hand-made methods, and the common interface of all fixed methods."""

from .applied import Applied, check_weights, load_module
from .methods import METHODS, apply_method

__all__ = ["METHODS", "Applied", "apply_method", "check_weights", "load_module"]
