"""Options of the structure engine and their defaults. The configuration reads its own defaults here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModuleOptions:
    """Options that all modules of one structure share.

    Attributes:
        activation: nonlinearity of bottlenecks, a key of ``ACTIVATIONS``.
        scale: factor on what LoRA, parallel bottlenecks and spectral cores add (``lora_alpha / r`` in peft). One
            constant, not one per rank, so that dropping a rank leaves the others' contribution as it was.
    """

    activation: str = "gelu"
    scale: float = 2.0


@dataclass(frozen=True)
class SearchOptions:
    """Rules by which a search chooses atoms, and when. Times are fractions of the steps.

    Attributes:
        kind: how atoms are chosen, a key of ``GATE_KINDS``.
        init: first value of structure variables that are trained or smoothed; positive = open.
        temperature: of trained gates, at the start and at the end of the search phase (geometric between).
        warmup: gates do not move before this; screening trains the head alone meanwhile.
        settle: gates are fixed from then on.
        shrink_every: closed atoms are removed this often during the search phase.
        screen: length of the screening, after the warm-up.
        surplus: size that remains after the screening, as a multiple of the structure's; the atoms of least worth are
            then removed step by step. 1 for nothing more than the structure.
        pruned: when the surplus has been removed.
        lr_growth: power with which the modules' learning rate grows as the supernet shrinks. The changes of the
            remaining atoms add up in the output, so a rate that is right for the whole supernet is too small for a
            hundredth of it.
        redundancy_discount: saliency: factor on the worth of each further atom of one kind in one block; 1 for none.
        depth_exponent: saliency: power of the number of blocks from an atom's own to the last in what it is worth; 0
            for none.
        smoothing: saliency: fraction of the old value at each step.
        sharing: fraction of an atom's cost that each further task pays that uses it.
        worth: what an atom is worth to one of several tasks: ``equal``, its fraction of what all atoms are worth to the
            task, or ``loss``, the rise of the task's loss without it.
    """

    kind: str = "screening"
    init: float = 1.0
    temperature: tuple[float, float] = (1.0, 0.3)
    warmup: float = 0.1
    settle: float = 0.7
    shrink_every: float = 0.02
    screen: float = 0.04
    surplus: float = 4.0
    pruned: float = 0.5
    lr_growth: float = 0.35
    redundancy_discount: float = 0.6
    depth_exponent: float = 0.5
    smoothing: float = 0.95
    sharing: float = 0.0
    worth: str = "equal"
