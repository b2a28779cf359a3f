"""What competes in ``equal_params.py``: methods, what is tuned in each, and structures of a size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slat_search.config import ALL_KINDS
from slat_search.records import TrainingJob
from slat_search.structure import Site, Structure

SEARCH_RATE = 2e-3  # of the whole supernet; it grows as that shrinks
#: method -> what its runs have other than the rest; searches first, then what is trained with twice the steps
VARIANTS: dict[str, dict[str, Any]] = {
    "SLAT": {"gates": {"kind": "saliency"}},
    "SLAT, sigmoid gates": {"gates": {"kind": "sigmoid"}},
    "SLAT, hard-concrete gates": {"gates": {"kind": "hard_concrete"}},
    "uniform LoRA, 2x steps": {"longer": 2},
}
REFITTED, TWICE = "SLAT, refitted", "uniform LoRA, 2x steps"
SEARCHES = tuple(VARIANTS)[:-1]
METHODS = (*SEARCHES, REFITTED, "random", "uniform LoRA", TWICE, "BitFit", "Houlsby")
USUAL = tuple(method for method in METHODS if "gates" not in method)


def rates(budget: int) -> tuple[float, ...]:
    """Learning rates to choose from for a fixed structure; small ones take larger steps."""
    return (3e-3, 1e-2, 3e-2) if budget < 8_000 else (1e-3, 3e-3, 1e-2)


@dataclass(frozen=True)
class Setting:
    """What is tuned."""

    learning_rate: float
    kinds: str = ALL_KINDS


@dataclass(frozen=True)
class Entry:
    """One training of one method at one budget, with a setting to be chosen.

    Attributes:
        draw: number of a random structure.
        structure: what is trained; None for a search, which finds it.
    """

    method: str
    budget: int
    seed: int
    structure: Structure | None = None
    draw: int = 0

    def settings(self, kind_sets: Sequence[str]) -> list[Setting]:
        """Values to choose from."""
        if self.structure is None:
            return [Setting(SEARCH_RATE, kinds) for kinds in kind_sets]
        return [Setting(rate) for rate in rates(self.budget)]

    @property
    def tuned_with(self) -> tuple[str, int]:
        """What shares a setting: the seeds of a method, the draws of random structures."""
        return self.method, self.budget

    def job(self, setting: Setting) -> TrainingJob:
        rate = setting.learning_rate
        if self.structure is None:
            options = {"budget": self.budget, "kinds": setting.kinds}
            return TrainingJob("search", f"search-{self.budget}-{setting.kinds}", rate, self.seed, options=options)
        name = f"fixed-{self.budget}-{self.structure.digest[:8]}"
        return TrainingJob("slat", name, rate, self.seed, options={"structure": self.structure.to_dict()})


def fixed(sites: Sequence[Site], supernet: Structure, budget: int, seeds: int, draws: int) -> Iterator[Entry]:
    """Structures that no search made."""
    for draw in range(draws):
        yield Entry("random", budget, draw % seeds, supernet.random_part(budget, seed=1000 + draw), draw)
    least, next_one = (Structure.houlsby(sites, width).params for width in (1, 2))
    width = 1 + max(0, budget - least) // (next_one - least)  # the largest that fits; its biases out stay one size
    made = {
        "uniform LoRA": Structure.uniform(sites, budget, "lora", scale=2.0),
        "BitFit": Structure.bitfit(sites),
        "Houlsby": Structure.houlsby(sites, width),
    }
    for method, structure in made.items():
        # LoRA fills any budget as far as whole ranks allow: at 1,000 parameters one rank of 768
        if method == "uniform LoRA" or 0.8 * budget <= structure.params <= 1.05 * budget:
            for seed in range(seeds):
                yield Entry(method, budget, seed, structure)


def places(structure: Structure) -> dict[str, dict[str, int]]:
    """Path of a site -> kind -> size."""
    result: dict[str, dict[str, int]] = {}
    for module in structure.modules:
        result.setdefault(module.site.name, {})[module.kind] = module.size
    return result


def refits(rows: Sequence[dict[str, Any]], supernet: Structure) -> Iterator[Entry]:
    """What searches found, to be trained again from fresh weights.

    Args:
        rows: of a comparison; those of searches have :func:`places` under ``modules``.
        supernet: what was searched.

    Raises:
        SystemExit: a row does not say what was found.
    """
    for row in rows:
        if row["method"] == "SLAT":
            if "modules" not in row:
                raise SystemExit(f"{row['task']} at {row['budget']:,} parameters: the row does not say what was found")
            sizes = row["modules"]
            modules = [
                replace(module, size=sizes[module.site.name][module.kind])
                for module in supernet.modules
                if module.kind in sizes.get(module.site.name, ())
            ]
            yield Entry(REFITTED, row["budget"], row["seed"], Structure(tuple(modules), supernet.options))
