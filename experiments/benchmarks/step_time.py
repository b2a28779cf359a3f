"""What a training step costs beside its floor, and how it falls as atoms close.

    python experiments/benchmarks/step_time.py [--rounds 15] [--batch 32] [--length 16] [--threads N]

The floor is the frozen backbone's forward and the backward through activations alone: one bias shift at the lowest
site. All variants take turns within a round, so that a busy machine slows all of them; figures are medians over rounds,
as ratios to the floor of the same round. Some stand there a second time with matrix products in bfloat16.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from slat_search.baselines import apply_method
from slat_search.config import Config
from slat_search.models.backbone import load_backbone
from slat_search.structure import (
    SearchOptions,
    Structure,
    Supernet,
    attach,
    find_sites,
)
from slat_search.training.trial import space

Variant = Callable[[nn.Module], tuple[list[nn.Parameter], Callable[[], object]]]


def fixed(structure: Structure) -> Variant:
    def stand(model: nn.Module) -> tuple[list[nn.Parameter], Callable[[], object]]:
        adapter = attach(model, structure)
        return list(adapter.parameters()), adapter.detach

    return stand


def supernet(share: float) -> Variant:
    """A gated supernet of larger atoms of which a ``share`` of the parameters is left after shrinking."""

    def stand(model: nn.Module) -> tuple[list[nn.Parameter], Callable[[], object]]:
        torch.manual_seed(0)
        candidates = space(Config(), "lora+parallel+serial+norm+bias")
        net = Supernet(model, find_sites(model), candidates, SearchOptions("sigmoid"))
        if share < 1:
            with torch.no_grad():
                nn.init.normal_(net.gates.each[0].alpha)
                net.set_budget(share * net.pressure.total)
                net._close(net._users(), None)
                net.budget = None
                net.gates.each[0].shift.zero_()
        return [*net.adapter.parameters(), *net.gates.variables], net.detach

    return stand


def peft_lora(model: nn.Module) -> tuple[list[nn.Parameter], Callable[[], object]]:
    applied = apply_method("lora", model, {"size": 8, "roles": ["q", "v"]})
    return list(applied.trained().values()), applied.undo


@contextmanager
def standing(variant: Variant, model: nn.Module) -> Iterator[list[nn.Parameter]]:
    parameters, undo = variant(model)
    try:
        yield parameters
    finally:
        undo()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = load_backbone("minilm")
    backbone.place(device, "float32")
    model = backbone.model
    sites = find_sites(model)
    ids = torch.randint(1000, 20_000, (options.batch, options.length), device=device)

    def step(parameters: list[nn.Parameter]) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        model(input_ids=ids).last_hidden_state.mean(1).square().mean().backward()
        for p in parameters:
            p.grad = None
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    floor = Structure.at(sites[:1], "bias", 1)
    entries = Structure.at(sites, "spectral", 32)
    variants: dict[str, Variant] = {
        "floor (one bias at the lowest site)": fixed(floor),
        "one bias in the top layer": fixed(Structure.at(sites[-8:-7], "bias", 1)),
        "LoRA r=8 on q,v": fixed(Structure.lora(sites, r=8)),
        "LoRA r=8 on q,v through peft": peft_lora,
        "Houlsby d=8": fixed(Structure.houlsby(sites, 8)),
        "BitFit": fixed(Structure.bitfit(sites)),
        "spectral, 144 entries at random": fixed(entries.random_part(144, seed=0)),
        "spectral, 1,000 entries at random": fixed(entries.random_part(1000, seed=0)),
        "spectral, whole cores of 5 x 5 (900)": fixed(Structure.cores(sites, 5)),
        "screening, all 36,864 entries": fixed(entries),
        "supernet, whole": supernet(1.0),
        "supernet, half of the parameters left": supernet(0.5),
        "supernet, 10 % left": supernet(0.1),
        "supernet, 1 % left": supernet(0.01),
    }
    runs = {name: (variant, "float32") for name, variant in variants.items()}
    for name in ("LoRA r=8 on q,v", "supernet, whole"):
        runs[f"{name}, bfloat16 products"] = (variants[name], "bfloat16")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, (variant, precision) in runs.items():
            backbone.place(device, precision)
            with standing(variant, model) as parameters:
                step(parameters)  # memory and caches warm
                times[name].append(min(step(parameters) for _ in range(2)))
    reference = times["floor (one bias at the lowest site)"]
    print(f"{device}, {options.threads} threads, {options.batch} x {options.length} tokens, {options.rounds} rounds")
    print(f"{'variant':<40} {'ms':>7} {'x floor':>8}")
    for name, values in times.items():
        ratio = statistics.median(v / r for v, r in zip(values, reference, strict=True))
        print(f"{name:<40} {1000 * statistics.median(values):>7.1f} {ratio:>8.2f}")


if __name__ == "__main__":
    main()
