"""The registry of kinds of gates. Adding one: write a :class:`.Gates` and one entry here. This file needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .gates import Gates


@dataclass(frozen=True)
class GateKind:
    """One way to choose atoms.

    Attributes:
        name: its name in YAML and JSON.
        source: ``module:Class`` in :mod:`.gates`, imported on first use.
        measured: whether gates follow from gradients and are not trained, so that they have no learning rate.
    """

    name: str
    source: str
    measured: bool = False

    @cached_property
    def gates(self) -> type[Gates]:
        """Return the class of its gates."""
        module, _, class_name = self.source.partition(":")
        gate_class: type[Gates] = getattr(import_module(f".gates.{module}", __package__), class_name)
        return gate_class


GATE_KINDS: dict[str, GateKind] = {
    kind.name: kind
    for kind in (
        GateKind("sigmoid", "trained:Sigmoid"),
        GateKind("hard_concrete", "trained:HardConcrete"),
        GateKind("saliency", "saliency:Saliency", measured=True),
        GateKind("screening", "screening:Screening", measured=True),
    )
}
