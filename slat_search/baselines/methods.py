"""Hand-made methods, which are applied to a backbone and can be removed from it.

A new baseline is one function, one entry in ``METHODS`` and one in the configuration's ``METHOD_DEFAULTS``. ``slat`` is
a found structure, which is trained in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from ..structure import (
    Candidate,
    ModuleOptions,
    Sigmoid,
    Site,
    Space,
    Structure,
    attach_shared,
    description_bytes,
    find_sites,
    read_structure,
)
from ..structure.candidates import Candidates
from . import spectral, through_peft
from .applied import Applied, Options, attached
from .limits import check_options


def slat(backbone: nn.Module, options: Options) -> Applied:
    """A found structure of one task or several; ``structure`` has the values of its ``to_dict``."""
    structure = read_structure(options["structure"])
    if isinstance(structure, Structure):
        return replace(attached(backbone, structure), description=description_bytes(structure))
    shared = attach_shared(backbone, structure)
    return Applied(
        shared.adapter,
        structure,
        shared.detach,
        description=description_bytes(structure),
        shared=shared,
    )


def houlsby(backbone: nn.Module, options: Options) -> Applied:
    """Serial adapters of width ``size`` after attention and MLP (Houlsby et al. 2019, arXiv 1902.00751)."""
    return attached(backbone, Structure.houlsby(find_sites(backbone), options["size"]))


def pfeiffer(backbone: nn.Module, options: Options) -> Applied:
    """Serial adapters of width ``size`` after the MLP alone (Pfeiffer et al. 2021, arXiv 2005.00247)."""
    return attached(backbone, Structure.pfeiffer(find_sites(backbone), options["size"]))


def parallel(backbone: nn.Module, options: Options) -> Applied:
    """Adapters of width ``size`` beside attention output and MLP output (He et al. 2022, arXiv 2110.04366)."""
    return attached(backbone, Structure.parallel(find_sites(backbone), options["size"]))


def bitfit(backbone: nn.Module, options: Options) -> Applied:
    """All biases of the blocks (Ben Zaken et al. 2022, arXiv 2106.10199)."""
    return attached(backbone, Structure.bitfit(find_sites(backbone)))


def uniform(backbone: nn.Module, options: Options) -> Applied:
    """LoRA of scale 2, spread as evenly over all projections as ``budget`` parameters allow."""
    return attached(backbone, Structure.uniform(find_sites(backbone), options["budget"], "lora", scale=2.0))


def random(backbone: nn.Module, options: Options) -> Applied:
    """``budget`` parameters drawn at random from a search's candidates, ``kinds`` and their sizes; by ``seed``."""
    kinds = {kind: Candidate(size) for kind, size in options["kinds"].items()}
    sites = find_sites(backbone, **options.get("sites", {}))
    supernet = Space(kinds, ModuleOptions(**options.get("modules", {}))).supernet(sites)
    return attached(backbone, supernet.random_part(options["budget"], options["seed"]))


class Mixture(nn.Module):
    """Modules of several kinds under gates that are trained and never close, also in evaluation.

    Args:
        backbone: a frozen model.
        sites: where modules are inserted.
        space: the modules.
    """

    def __init__(self, backbone: nn.Module, sites: Sequence[Site], space: Space):
        super().__init__()
        candidates = Candidates(backbone, sites, space)
        self.adapter, self.layout = candidates.adapter, candidates.layout
        self.gates = Sigmoid(len(self.layout.costs), init=0.0).to(self.layout.costs.device)
        self._pre_hook = backbone.register_forward_pre_hook(lambda module, args: self.draw())

    def draw(self) -> None:
        """Set every module's gate for the next forward pass."""
        for part, gate in zip(self.layout.parts, self.layout.by_part(self.gates.sample()), strict=True):
            part.site.gates[part.name] = gate

    def detach(self) -> None:
        """Remove the hooks from the backbone."""
        self._pre_hook.remove()
        self.adapter.detach()


def unipelt(backbone: nn.Module, options: Options) -> Applied:
    """LoRA, parallel and serial adapters of ``size``, one sigmoid gate each, without sparsity.

    As UniPELT (Mao et al. 2022, arXiv 2110.07577), but gates do not depend on the text, and prefixes are not among the
    kinds. LoRA is on queries, values and the MLP's output, adapters on the latter.
    """
    size = options["size"]
    kinds = {kind: Candidate(size, group=size) for kind in ("lora", "parallel", "serial")}
    sites = [s for s in find_sites(backbone) if s.role in ("q", "v", "qkv", "mlp_out")]
    mixture = Mixture(backbone, sites, Space(kinds))
    return Applied(mixture, None, mixture.detach)


def full(backbone: nn.Module, options: Options) -> Applied:
    """All weights, in a float32 copy; ``undo`` restores the frozen ones."""
    parameters = [(m, name, p) for m in backbone.modules() for name, p in m.named_parameters(recurse=False)]
    # tied parameters stay tied
    copies = {id(p): nn.Parameter(p.detach().to(torch.float32, copy=True)) for _, _, p in parameters}
    for module, name, p in parameters:
        setattr(module, name, copies[id(p)])

    def undo() -> None:
        for module, name, p in parameters:
            setattr(module, name, p)

    return Applied(backbone, None, undo)


def head(backbone: nn.Module, options: Options) -> Applied:
    """Only the linear head."""
    return Applied(None, Structure())


METHODS: dict[str, Callable[[nn.Module, Options], Applied]] = {
    "slat": slat,
    "lora": through_peft.lora,
    "dora": through_peft.dora,
    "adalora": through_peft.adalora,
    "vera": through_peft.vera,
    "tinylora": through_peft.tinylora,
    "unilora": through_peft.unilora,
    "fourierft": through_peft.fourierft,
    "ia3": through_peft.ia3,
    "layernorm": through_peft.layernorm,
    "prefix": through_peft.prefix,
    "peft": through_peft.tuner,
    "houlsby": houlsby,
    "pfeiffer": pfeiffer,
    "parallel": parallel,
    "bitfit": bitfit,
    "cores": spectral.cores,
    "lora_xs": spectral.lora_xs,
    "svft": spectral.svft,
    "svft_banded": spectral.svft_banded,
    "unipelt": unipelt,
    "uniform": uniform,
    "random": random,
    "entries": spectral.entries,
    "head": head,
    "full": full,
}


def apply_method(name: str, backbone: nn.Module, options: Options) -> Applied:
    """Put method ``name`` on ``backbone``; initial weights follow torch's global seed.

    Raises:
        SlatError: the method does not fit the model, or asks for more than it could ever use.
    """
    check_options(name, backbone, options)
    return METHODS[name](backbone, options)
