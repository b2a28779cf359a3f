"""What a training step costs beside its floor, in time and memory, and how it falls as atoms close.

    python experiments/benchmarks/step_time.py [--model NAME] [--rounds 15] [--batch 32] [--length 16] [--threads N]

The floor is the frozen backbone's forward and the backward through activations alone: one bias shift at the lowest
site. All variants take turns within a round, so that a busy machine slows all of them; figures are medians over rounds,
as ratios to the floor of the same round. Memory is the most that a step allocates at once beside the model. On an
encoder some variants stand there a second time with matrix products in bfloat16; a causal language model scores one of
two tokens behind each text, and some variants stand there a second time with activations computed again in the backward
pass.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from slat_search.baselines import apply_method
from slat_search.config import Config
from slat_search.models.backbone import Backbone, load_backbone
from slat_search.models.label_words import LabelWords
from slat_search.models.loading import read_config
from slat_search.models.registry import Source, is_causal
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
                net.set_budget(share / 2 * net.pressure.total)
                net.shrink(below=1.0)  # which leaves twice the budget
                net.pressure.budget = None
                net.gates.each[0].shift.zero_()
                assert abs(net.params / net.pressure.total - share) < 0.01
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


def encoder_variants(model: nn.Module) -> dict[str, Variant]:
    sites = find_sites(model)
    entries = Structure.at(sites, "spectral", 32)
    return {
        "floor (one bias at the lowest site)": fixed(Structure.at(sites[:1], "bias", 1)),
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


def decoder_variants(model: nn.Module) -> dict[str, Variant]:
    sites = find_sites(model)
    entries = Structure.at(sites, "spectral", 32)
    return {
        "floor (one bias at the lowest site)": fixed(Structure.at(sites[:1], "bias", 1)),
        "LoRA r=8 on q,v": fixed(Structure.lora(sites, r=8)),
        "LoRA r=8 on q,v through peft": peft_lora,
        "spectral, 144 entries at random": fixed(entries.random_part(144, seed=0)),
        "spectral, 1,000 entries at random": fixed(entries.random_part(1000, seed=0)),
        "spectral, 4,000 entries at random": fixed(entries.random_part(4000, seed=0)),
        "screening, all entries": fixed(entries),
    }


@dataclass(frozen=True)
class Run:
    """A variant in one setting of the model."""

    variant: Variant
    precision: str = "float32"
    checkpointing: bool = False


def runs_on(backbone: Backbone, causal: bool) -> dict[str, Run]:
    """What takes turns, by name."""
    variants = (decoder_variants if causal else encoder_variants)(backbone.model)
    runs = {name: Run(variant) for name, variant in variants.items()}
    if causal:
        again = {f"{name}, recomputed": Run(variant, checkpointing=True) for name, variant in variants.items()}
        return runs | {name: run for name, run in again.items() if "4,000" not in name}
    halved = ("LoRA r=8 on q,v", "supernet, whole")
    return runs | {f"{name}, bfloat16 products": Run(variants[name], "bfloat16") for name in halved}


def losses(backbone: Backbone, causal: bool, batch: int, length: int) -> Callable[[], torch.Tensor]:
    """A loss of one batch of random tokens."""
    model = backbone.model
    ids = torch.randint(1000, 20_000, (batch, length), device=model.device)
    if not causal:
        return lambda: model(input_ids=ids).last_hidden_state.mean(1).square().mean()
    task = LabelWords(model, [(1000,), (1001,)]).to(model.device)
    labels = torch.zeros(batch, dtype=torch.long, device=model.device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return lambda: task.loss(inputs)


def allocated(step: Callable[[], object], device: str) -> int:
    """Most bytes that ``step`` has allocated at once, beside what was there before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return max(itertools.accumulate(changes, initial=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    causal = is_causal(read_config(Source.of(options.model)))
    backbone = load_backbone(options.model, causal=causal)
    backbone.place(device, "float32")
    runs = runs_on(backbone, causal)
    loss = losses(backbone, causal, options.batch, options.length)
    times: dict[str, list[float]] = {name: [] for name in runs}
    memory: dict[str, int] = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            backbone.place(device, run.precision, run.checkpointing)
            backbone.model.train()
            with standing(run.variant, backbone.model) as parameters:

                def step(parameters: list[nn.Parameter] = parameters) -> None:
                    loss().backward()
                    for p in parameters:
                        p.grad = None
                    if device == "cuda":
                        torch.cuda.synchronize()

                step()  # memory and caches warm
                if name not in memory:
                    memory[name] = allocated(step, device)
                times[name].append(min(seconds(step) for _ in range(2)))
    reference = times["floor (one bias at the lowest site)"]
    print(f"{options.model}, {device}, {options.threads} threads, {options.batch} x {options.length} tokens, ", end="")
    print(f"{options.rounds} rounds")
    print(f"{'variant':<50} {'ms':>7} {'x floor':>8} {'MB':>8}")
    for name, values in times.items():
        ratio = statistics.median(v / r for v, r in zip(values, reference, strict=True))
        print(f"{name:<50} {1000 * statistics.median(values):>7.1f} {ratio:>8.2f} {memory[name] / 1e6:>8.1f}")


def seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
