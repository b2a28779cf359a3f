"""A trained adapter for those who have other libraries: a model of transformers, or an adapter of peft."""

from .forms import export

__all__ = ["export"]
