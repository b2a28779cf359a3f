"""Methods made by hand, and the door through which every fixed method is trained."""

from .applied import Applied, check_weights, load_module
from .methods import METHODS, apply_method

__all__ = ["METHODS", "Applied", "apply_method", "check_weights", "load_module"]
