"""Attach a structure to a backbone through forward hooks, and detach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import SlatError
from .few_bits import keep_differentiable
from .kinds import KINDS
from .module_spec import ModuleSpec
from .options import ModuleOptions
from .singular import weight_of
from .site_module import Linear, SiteModule
from .sites import Site
from .structure import Structure

_HALF = (torch.float16, torch.bfloat16)


class SiteAdapter(nn.Module):
    """All modules of one site, applied in the order of ``KINDS``.

    Args:
        site: the insertion point.
        modules: kind -> module, at most one of each kind.
        options: what all modules share.
        layer: the site's own layer in the backbone.

    Attributes:
        parts: class name -> module; kinds that share a class (LoRA, parallel) are one module.
        modules_by_kind: kind -> remaining module, in the order of ``KINDS``.
        gates: class name -> current gate (units,), set by a supernet before each forward pass; absent = open.
    """

    def __init__(self, site: Site, modules: Mapping[str, ModuleSpec], options: ModuleOptions, layer: nn.Module):
        super().__init__()
        self.site = site
        self.modules_by_kind = {kind: modules[kind] for kind in KINDS if kind in modules}
        self.gates: dict[str, Tensor] = {}
        classes = {KINDS[kind].module.__name__: KINDS[kind].module for kind in self.modules_by_kind}
        self.parts = nn.ModuleDict(
            {
                name: kind_class.build(site, self._modules_of(name), options, layer)
                for name, kind_class in classes.items()
            }
        )

    @property
    def kinds(self) -> dict[str, dict[str, int]]:
        """Return class name -> kind -> number of units, in unit order."""
        kinds: dict[str, dict[str, int]] = {}
        for kind, module in self.modules_by_kind.items():
            kinds.setdefault(KINDS[kind].module.__name__, {})[kind] = module.size
        return kinds

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the gates of the last forward pass, whose graph can be neither pickled nor copied."""
        return {**self.__dict__, "gates": {}}

    def part(self, name: str) -> SiteModule:
        """Return the module of a class."""
        return cast(SiteModule, self.parts[name])

    def _modules_of(self, name: str) -> dict[str, ModuleSpec]:
        """Return kind -> remaining module, for the kinds in one part."""
        return {kind: m for kind, m in self.modules_by_kind.items() if KINDS[kind].module.__name__ == name}

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the site's output (..., d_out) with its modules applied.

        On a backbone in half precision it is computed in the precision of the modules.
        """
        dtype = y.dtype
        if dtype in _HALF:
            module_dtype = next(self.parameters()).dtype
            x, y = x.to(module_dtype), y.to(module_dtype)
        for name, part in self.parts.items():
            y = part(x, y, self.gates.get(name))
        return y.to(dtype)

    @torch.no_grad()
    def keep(self, name: str, units: Tensor) -> list[tuple[nn.Parameter, nn.Parameter | None, int, Tensor]]:
        """Keep only ``units`` (sorted indices) of part ``name``; the weights really get smaller.

        Returns:
            (old parameter, new one or None, unit dimension, kept indices), for an optimizer to follow.
        """
        part = self.part(name)
        changes: list[tuple[nn.Parameter, nn.Parameter | None, int, Tensor]] = []
        modules = self._modules_of(name)
        total_units = sum(module.size for module in modules.values())
        for parameter_name, dim in part.unit_dims.items():
            old = getattr(part, parameter_name, None)
            if old is None:
                continue
            index = units - (total_units - old.shape[dim])  # a hidden bias has none for LoRA's units, which come first
            index = index[index >= 0].to(old.device)
            values = old.index_select(dim, index)
            new = nn.Parameter(values, requires_grad=old.requires_grad) if index.numel() else None
            setattr(part, parameter_name, new)
            changes.append((old, new, dim, index))
        start, kept_units = 0, units.tolist()
        for kind, module in modules.items():
            own_units = [unit - start for unit in kept_units if start <= unit < start + module.size]
            start += module.size
            if own_units:
                self.modules_by_kind[kind] = module.only(own_units)
            else:
                del self.modules_by_kind[kind]
        if remaining_modules := self._modules_of(name):
            part.units_left(remaining_modules)
        else:
            del self.parts[name]
            self.gates.pop(name, None)
        return changes


class _SiteHook:
    """The forward hook of a site, which can be pickled."""

    def __init__(self, adapter: Adapter, site: nn.Module):
        self._adapter, self._site = adapter, site

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return self._site(args[0], output) if self._adapter.active else output


class Adapter(nn.Module):
    """The trained modules of one structure on one backbone.

    The backbone's own modules stay as they are: each site gets a forward hook, and :meth:`detach` removes
    them all. The adapter's parameters live here and not in the backbone, so ``adapter.state_dict()`` is
    what has to be saved.

    Attributes:
        active: False lets the backbone compute as if the adapter were not there.
    """

    def __init__(self, backbone: nn.Module, structure: Structure):
        super().__init__()
        self.options = structure.options
        self.active = True
        modules_by_site: dict[Site, dict[str, ModuleSpec]] = {}
        for m in structure.modules:
            modules_by_site.setdefault(m.site, {})[m.kind] = m
        self.sites = nn.ModuleDict()
        self._handles: dict[str, torch.utils.hooks.RemovableHandle] = {}
        self._layers: dict[str, nn.Module] = {}  # a plain dict: the backbone's modules are not ours to train or save
        self._attached_to = (backbone,)  # a tuple, for the same reason
        keep_differentiable(backbone)
        layers = dict(backbone.named_modules())
        for site, modules in modules_by_site.items():
            if site.name not in layers:
                raise SlatError(f"structure: the model has no module {site.name}; it was made for another model")
            widths = {site.d_out} if site.is_norm else {site.d_in, site.d_out}
            if _widths(layers[site.name]) != widths:
                raise SlatError(f"structure: {site.name} is {site.d_in} -> {site.d_out} there, not so in this model")
            key = site.name.replace(".", "/")  # a ModuleDict key may hold no dot
            layer = layers[site.name]
            site_adapter = SiteAdapter(site, modules, structure.options, layer)
            self.sites[key] = site_adapter.to(layer.get_parameter("weight").device)
            hook = _SiteHook(self, self.sites[key])
            self._handles[key] = layers[site.name].register_forward_hook(hook)
            self._layers[site.name] = layers[site.name]

    def site_adapters(self) -> Sequence[SiteAdapter]:
        return cast(list[SiteAdapter], [*self.sites.values()])

    @property
    def structure(self) -> Structure:
        """Return the structure as it is now, after any shrinking."""
        modules = (module for site in self.site_adapters() for module in site.modules_by_kind.values())
        return Structure(tuple(modules), self.options)

    @property
    def backbone(self) -> nn.Module:
        """Return the model that the adapter was attached to."""
        return self._attached_to[0]

    @property
    def hook_ids(self) -> frozenset[int]:
        """Return the keys of the adapter's hooks in the layers' tables of hooks; none after :meth:`detach`."""
        return frozenset(handle.id for handle in self._handles.values())

    def layer(self, site: Site) -> nn.Module:
        """Return the backbone's own layer at a site."""
        return self._layers[site.name]

    def drop_empty_sites(self) -> None:
        """Remove the sites that have no modules left, and their hooks."""
        for key in [k for k, s in self.sites.items() if not s.parts]:
            self._handles.pop(key).remove()
            del self.sites[key]

    @torch.no_grad()
    def open_gates(self) -> None:
        """Open all gates, whatever values a supernet has set."""
        for site in self.site_adapters():
            site.gates.clear()

    def merge(self) -> Structure:
        """Fold linear modules (LoRA, IA3, norm, bias) into the backbone's own weights; return the rest.

        A site's modules are applied one after another, so merging stops at the first that has to stay: a
        bottleneck, or a norm without a bias of its own (RMSNorm). A projection without bias gets one when a bias
        shift is merged. The backbone's weights are replaced, not written into; they may be shared.
        """
        for site in self.site_adapters():
            layer = self._layers[site.site.name]
            if site.site.is_norm and not isinstance(layer, nn.LayerNorm):
                continue
            parameter, weight = layer.get_parameter("weight"), weight_of(layer)
            if not parameter.is_floating_point():
                raise SlatError(f"structure: {site.site.name} is kept in few bits, which hold nothing that is merged")
            bias: Tensor | None = layer.bias  # type: ignore[assignment]
            merged = Linear(weight, bias if bias is not None else weight.new_zeros(site.site.d_out))
            original = merged
            for name in list(site.parts):
                part = site.part(name)
                units = sum(site.kinds[name].values())
                merged, count = part.merge(merged)
                if count:
                    site.keep(name, torch.arange(count, units, device=weight.device))
                if count < units:
                    break
            if merged.weight is not original.weight:
                new_weight = merged.weight if weight is parameter else merged.weight.T
                layer.weight = nn.Parameter(new_weight.to(parameter.dtype), requires_grad=False)
            if merged.bias is not original.bias:
                layer.bias = nn.Parameter(merged.bias.to(parameter.dtype), requires_grad=False)
        self.drop_empty_sites()
        return self.structure

    def detach(self) -> None:
        """Remove every hook: the backbone computes as before :func:`attach`."""
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()


def _widths(layer: nn.Module) -> set[int]:
    """Return the widths of a layer's input and output, also where its weight is packed; none without a weight."""
    if isinstance(layer, nn.Linear):
        return {layer.in_features, layer.out_features}
    weight = getattr(layer, "weight", None)
    return set() if weight is None else set(weight.shape)


def attach(backbone: nn.Module, structure: Structure) -> Adapter:
    """Put ``structure`` on ``backbone`` and return its trainable modules.

    The backbone's parameters are not touched; freeze them with ``requires_grad_(False)``.

    Raises:
        SlatError: the structure names a module that the backbone lacks or that has another shape.
    """
    return Adapter(backbone, structure)
