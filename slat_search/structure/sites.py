"""Sites, where modules can be inserted; they are found from the model itself.

A *site* is a layer in a repeated block of the backbone: a linear projection (``q``, ``k``, ``v``,
``attn_out``, ``mlp_in``, ``mlp_out``, ...) or a normalization layer. Only the list of repeated blocks is
searched, so that embeddings, poolers and heads are never touched.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from ..errors import SlatError

# Role of a linear layer by its path inside the block; the first pattern that matches wins.
_ROLES: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(query|q_proj|q_lin|query_proj|q)$", "q"),
    (r"(^|\.)(key|k_proj|k_lin|key_proj|k)$", "k"),
    (r"(^|\.)(value|v_proj|v_lin|value_proj|v)$", "v"),
    (r"(^|\.)(c_attn|qkv_proj|query_key_value|Wqkv)$", "qkv"),
    (r"(attention\.output\.dense|o_proj|out_proj|out_lin|attn\.c_proj|attn\.Wo|attention\.dense|\.o)$", "attn_out"),
    (r"(gate_proj|wi_0)$", "mlp_gate"),
    (r"(intermediate\.dense|fc1|lin1|up_proj|gate_up_proj|c_fc|dense_h_to_4h|mlp\.Wi|wi|wi_1)$", "mlp_in"),
    (r"(output\.dense|fc2|lin2|down_proj|mlp\.c_proj|dense_4h_to_h|mlp\.Wo|wo)$", "mlp_out"),
)
SUBLAYER_OUTPUTS = frozenset({"attn_out", "mlp_out"})


@dataclass(frozen=True, order=True)
class Site:
    """One insertion point.

    Attributes:
        layer: index of the repeated block, from 0.
        name: module path in the backbone, e.g. ``encoder.layer.0.attention.self.query``.
        role: ``q``, ``k``, ``v``, ``qkv``, ``attn_out``, ``mlp_in``, ``mlp_gate``, ``mlp_out``,
            ``linear`` (unknown projection) or ``norm``.
        d_in: width of the input (elements).
        d_out: width of the output (elements).
    """

    layer: int
    name: str
    role: str
    d_in: int
    d_out: int

    @property
    def is_norm(self) -> bool:
        return self.role == "norm"

    @property
    def is_sublayer_output(self) -> bool:
        """Whether the output is what the sublayer adds to the residual stream."""
        return self.role in SUBLAYER_OUTPUTS


def find_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return path and list of the repeated blocks: the largest ``ModuleList`` of modules of one class.

    Raises:
        SlatError: the model has no such list.
    """
    largest: tuple[int, str, nn.ModuleList] | None = None
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len({type(block) for block in module}) != 1:
            continue
        size = sum(p.numel() for p in module.parameters())
        if largest is None or size > largest[0]:
            largest = (size, name, module)
    if largest is None:
        raise SlatError(f"model: {type(model).__name__} has no list of repeated blocks to put modules in")
    return largest[1], largest[2]


def find_sites(model: nn.Module, include: Sequence[str] = ("*",), exclude: Sequence[str] = ()) -> tuple[Site, ...]:
    """Return the sites of ``model`` in forward order, filtered by shell patterns of paths.

    Roles come from module paths. Where none of them is known, every linear layer of the blocks is a site of role
    ``linear``, which holds LoRA, parallel bottlenecks, IA3 and bias shifts, and a warning says so.

    Args:
        model: the backbone (without a task head).
        include: keep a site when one of these patterns matches its path.
        exclude: then drop it when one of these does.

    Raises:
        SlatError: no site is left.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> sites = find_sites(BertModel(BertConfig(**sizes)), include=["*.self.*"])
        >>> [site.role for site in sites if site.layer == 0]
        ['q', 'k', 'v']
    """
    prefix, blocks = find_blocks(model)
    sites: list[Site] = []
    for layer, block in enumerate(blocks):
        for path, module in block.named_modules():
            site = _as_site(layer, f"{prefix}.{layer}.{path}", path, module)
            if site is None:
                continue
            if any(fnmatchcase(site.name, p) for p in include) and not any(fnmatchcase(site.name, p) for p in exclude):
                sites.append(site)
    if not sites:
        raise SlatError(
            f"structure.include/exclude: no site of {type(model).__name__} is left; "
            f"paths look like {prefix}.0.<projection>"
        )
    projections = [site for site in sites if not site.is_norm]
    if projections and all(site.role == "linear" for site in projections):
        warnings.warn(
            f"{type(model).__name__} is of no known family: all {len(projections)} linear layers of its blocks are "
            "sites, and serial bottlenecks find no place; narrow them with include and exclude",
            stacklevel=2,
        )
    return tuple(sites)


def _as_site(layer: int, name: str, path: str, module: nn.Module) -> Site | None:
    weight = getattr(module, "weight", None)
    if weight is None:
        return None
    if isinstance(module, nn.Linear):
        return Site(layer, name, _role(path), module.in_features, module.out_features)
    if type(module).__name__ == "Conv1D":  # GPT-2: a linear layer with a transposed weight
        return Site(layer, name, _role(path), weight.shape[0], weight.shape[1])
    if "Norm" in type(module).__name__ and weight.ndim == 1:
        return Site(layer, name, "norm", weight.shape[0], weight.shape[0])
    return None


def _role(path: str) -> str:
    return next((role for pattern, role in _ROLES if re.search(pattern, path)), "linear")
