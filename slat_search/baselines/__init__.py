"""Methods made by hand, and the door through which every fixed method is trained."""

from .methods import METHODS, Applied, apply_method

__all__ = ["METHODS", "Applied", "apply_method"]
