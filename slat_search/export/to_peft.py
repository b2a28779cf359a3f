"""A trained adapter as an adapter of the peft library that computes the same, and a structure as its configuration."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from ..errors import SlatError
from ..structure import Adapter, SharedAdapter, Structure, attach_alone
from .lora_weights import DOWN, SHIFT, in_one_rank, lora_weights, norm_weights

#: task type of peft -> the classes of transformers that peft's class of that type stands on
CLASSES: dict[str, Any] = {
    "SEQ_CLS": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    "CAUSAL_LM": MODEL_FOR_CAUSAL_LM_MAPPING,
}
TASK_TYPES = ("FEATURE_EXTRACTION", *CLASSES)


def to_peft(
    adapter: Adapter | SharedAdapter,
    model: nn.Module | None = None,
    *,
    task_type: str | None = None,
    modules_to_save: str | Sequence[str] = (),
    uniform_rank: bool = False,
    base_name: str | None = None,
    out: str | Path | None = None,
) -> PeftModel:
    """Convert a trained adapter to a peft model that computes the same, and optionally write it as a folder.

    Spectral cores and LoRA become LoRA with a rank for each projection, bias shifts become biases of LoRA, and trained
    norms are saved whole. The adapter and its model stay as they are. The result shares their frozen weights in memory:
    merging it (``merge_and_unload``) changes them.

    Example::

        adapter = attach(model.base_model, structure)  # model: any ...ForSequenceClassification or ...ForCausalLM
        ...  # train adapter and model.classifier
        to_peft(adapter, model, out="for-peft")
        again = AutoPeftModelForSequenceClassification.from_pretrained("for-peft", num_labels=model.num_labels)

    Args:
        adapter: with trained weights; of a pool of several tasks the part of the task that it is switched to.
        model: contains the adapter's sites; by default the model it is attached to. It may be a class with a head
            around that model or around a copy of it.
        task_type: ``SEQ_CLS``, ``CAUSAL_LM`` or ``FEATURE_EXTRACTION``; by default that of the model's class.
        modules_to_save: name or names of further modules that were trained and are saved whole. With ``SEQ_CLS`` the
            head is among them anyway.
        uniform_rank: pad with zeros to one rank and one alpha, at the same projections of all blocks, for servers that
            read nothing else (vLLM, TGI).
        base_name: model name for others; by default the name it was loaded by.
        out: a folder that is not there yet, or empty.

    Raises:
        SlatError: modules that peft, or a server, has nothing for; none on a projection; a model that lacks the
            adapter's places or ``modules_to_save``, or is not of the task type; or ``out`` is not empty or cannot be
            written.
    """
    own, backbone = _alone(adapter)
    whole = backbone if model is None else model
    kind = task_type or _task_type(whole)
    _check_class(whole, kind)
    further = [modules_to_save] if isinstance(modules_to_save, str) else modules_to_save
    _check_modules(whole, further)
    if out is not None:
        _check_headless(whole, kind)
        check_empty(Path(out), "to_peft: out")
    prefix = _prefix(own, whole)
    loras = {prefix + name: weights for name, weights in lora_weights(own).items()}
    norms = {prefix + name: weights for name, weights in norm_weights(own).items()}
    saved = [*norms, *further]
    if kind == "SEQ_CLS":
        saved += [name for name in head_modules(whole) if name not in saved]
    if uniform_rank:
        if saved:
            raise SlatError(
                f"export: servers of LoRA read no module that was trained whole, and this adapter has {saved[0]}; "
                "leave out uniform_rank, or export without a head"
            )
        loras = in_one_rank(loras, whole)
    bare = _frozen_copy(whole, adapter)
    config = _config(
        {name: len(lora[DOWN]) for name, lora in loras.items()},
        saved,
        own.options.scale,
        lora_bias=any(SHIFT in lora for lora in loras.values()),
        fan_in_fan_out=any(type(bare.get_submodule(name)).__name__ == "Conv1D" for name in loras),
        task_type=kind,
    )
    if uniform_rank:
        config = _uniform(config, loras, bare)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses what transformers has renamed
        wrapped = get_peft_model(bare, config)
    with torch.no_grad():
        for name, lora in loras.items():
            for weight, value in lora.items():
                part, _, parameter = weight.partition(".")
                wrapped.base_model.model.get_submodule(f"{name}.{part}.default").get_parameter(parameter).copy_(value)
        for name, norm in norms.items():
            head = wrapped.base_model.model.get_submodule(f"{name}.modules_to_save.default")
            head.load_state_dict(norm)
    if base_name is not None:
        wrapped.peft_config["default"].base_model_name_or_path = base_name
    if not uniform_rank:
        only_here(wrapped)
    if out is not None:
        try:
            write_peft(wrapped, Path(out))
        except OSError as error:
            raise SlatError(f"to_peft: out: cannot write {out}: {error.strerror or error}") from error
    return wrapped.train(whole.training)


def write_peft(model: PeftModel, out: Path) -> None:
    """Write an adapter of peft without peft's README, a form to fill in, and without asking the hub anything."""
    model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)


def check_empty(out: Path, where: str) -> None:
    """Check that a folder is not there yet, or empty.

    Raises:
        SlatError: it is a file, or holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SlatError(f"{where}: {out} is not an empty folder; choose another")


def head_modules(model: nn.Module) -> list[str]:
    """Names of the modules with weights that a class with a head has around its backbone."""
    inside = getattr(model, "base_model", None)
    return [
        name
        for name, child in model.named_children()
        if child is not inside and next(child.parameters(), None) is not None
    ]


def only_here(model: PeftModel) -> None:
    """Let the configuration name modules by their whole paths, so that peft refuses a model in which they begin
    otherwise, as they do inside a class with a head; by their ends it would find them there, and load no weight."""
    config: Any = model.peft_config["default"]
    config.target_modules = "|".join(map(re.escape, model.base_model.targeted_module_names))
    for field in ("layers_to_transform", "layers_pattern"):  # which only lists take; what they chose is named above
        if hasattr(config, field):
            setattr(config, field, None)


def lora_config(structure: Structure, **options: Any) -> LoraConfig:
    """Convert a structure to a peft configuration: a rank per projection, and fully trained norms.

    To train it from fresh weights under any head::

        model = peft.get_peft_model(AutoModelForSequenceClassification.from_pretrained(name), lora_config(structure))

    Args:
        structure: LoRA and norms.
        options: further fields of :class:`peft.LoraConfig`, such as ``task_type`` or ``lora_dropout``.

    Raises:
        SlatError: other kinds of module, which peft cannot place freely, or no LoRA.
    """
    other = sorted({m.kind for m in structure.modules} - {"lora", "norm"})
    if other:
        raise SlatError(f"lora_config: peft cannot train {', '.join(other)} at single places; LoRA and norms it can")
    ranks = {m.site.name: m.size for m in structure.modules if m.kind == "lora"}
    if not ranks:
        raise SlatError("lora_config: the structure has no LoRA")
    norms = sorted(m.site.name for m in structure.modules if m.kind == "norm")
    return _config(ranks, norms, structure.options.scale, **options)


def _config(ranks: Mapping[str, int], saved: Sequence[str], scale: float, **options: Any) -> LoraConfig:
    """peft's scaling is alpha over rank."""
    return LoraConfig(
        r=1,
        rank_pattern=dict(ranks),
        lora_alpha=scale,
        alpha_pattern={name: scale * rank for name, rank in ranks.items()},
        target_modules=list(ranks),
        modules_to_save=list(saved) or None,
        **options,
    )


def _uniform(config: LoraConfig, names: Iterable[str], model: nn.Module) -> LoraConfig:
    """The same with one rank, one alpha and the shortest names that mean these projections and no others."""
    (rank,) = set(config.rank_pattern.values())
    alpha = config.lora_alpha * rank
    config.r, config.rank_pattern, config.alpha_pattern = rank, {}, {}
    config.lora_alpha = int(alpha) if alpha == int(alpha) else alpha  # servers expect a whole number
    wanted, known = set(names), [name for name, _ in model.named_modules()]
    for parts in range(1, max(name.count(".") for name in wanted) + 2):
        ends = sorted({".".join(name.split(".")[-parts:]) for name in wanted})
        if {name for name in known if any(name == end or name.endswith(f".{end}") for end in ends)} == wanted:
            config.target_modules = set(ends)
            break
    return config


def _alone(adapter: Adapter | SharedAdapter) -> tuple[Adapter, nn.Module]:
    """The adapter of one task, and the model that it stands on; no hook of it is left on that."""
    if isinstance(adapter, SharedAdapter):
        backbone = adapter.adapter.backbone
        own = attach_alone(backbone, *adapter.alone(adapter.task))
        own.detach()
        return own, backbone
    if any(site.gates for site in adapter.site_adapters()):
        raise SlatError("to_peft: the adapter has gates; give the pool (`SharedAdapter`), or what `discretize` returns")
    return adapter, adapter.backbone


def _task_type(model: nn.Module) -> str:
    return next((kind for kind, known in CLASSES.items() if type(model) in known.values()), "FEATURE_EXTRACTION")


def _check_class(model: nn.Module, kind: str) -> None:
    if kind not in TASK_TYPES:
        raise SlatError(f"to_peft: task_type is one of {', '.join(TASK_TYPES)}, not {kind!r}")
    if kind in CLASSES and isinstance(model, PreTrainedModel) and type(model) not in CLASSES[kind].values():
        raise SlatError(
            f"to_peft: {type(model).__name__} is no class of task type {kind}, under which its modules have other "
            "names; give the class with its head as `model`"
        )


def _check_headless(model: nn.Module, kind: str) -> None:
    """Refuse a folder that names modules inside a class with a head and is loaded into the bare model."""
    inside = getattr(model, "base_model", model)
    if kind == "FEATURE_EXTRACTION" and isinstance(model, PreTrainedModel) and inside is not model:
        known = next((name for name, types in CLASSES.items() if type(model) in types.values()), None)
        instead = f"choose {known}" if known else "attach the adapter to its base_model and give that"
        raise SlatError(
            f"to_peft: a folder of task type {kind} loads into the bare model, and {type(model).__name__} has a head "
            f"around it; {instead}"
        )


def _check_modules(model: nn.Module, names: Sequence[str]) -> None:
    known = [name for name, _ in model.named_modules()]
    for name in names:
        if not name or not any(module.endswith(name) for module in known):  # as peft compares them
            raise SlatError(
                f"to_peft: modules_to_save: {type(model).__name__} has no module {name!r}; give names of its modules, "
                "as named_modules() has them"
            )


def _prefix(adapter: Adapter, model: nn.Module) -> str:
    """Return the prefix in ``model`` of the names of the adapter's places.

    Raises:
        SlatError: they are not there.
    """
    sites = [site.site for site in adapter.site_adapters()]
    modules = dict(model.named_modules())
    names = {module: name for name, module in modules.items()}
    for site in sites:
        prefix = names.get(adapter.layer(site))
        if prefix is not None and prefix.endswith(site.name):
            return prefix.removesuffix(site.name)
    starts = ["", *(f"{name}." for name, module in modules.items() if name and isinstance(module, PreTrainedModel))]
    for start in starts:
        if all(_fits(adapter.layer(site), modules.get(start + site.name)) for site in sites):
            return start
    raise SlatError(f"to_peft: {type(model).__name__} has no {sites[0].name} of the adapter's size")


def _fits(layer: nn.Module, other: nn.Module | None) -> bool:
    if type(other) is not type(layer):
        return False
    return other.get_parameter("weight").shape == layer.get_parameter("weight").shape


def _frozen_copy(model: nn.Module, adapter: Adapter | SharedAdapter) -> Any:
    """The model again without the adapter's hooks, on the same values in memory: peft changes modules and what is
    trained, and neither may touch the caller's model."""
    shared: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    shared |= {id(b): b for b in model.buffers()}
    single = adapter.adapter if isinstance(adapter, SharedAdapter) else adapter
    again = copy.deepcopy(model, shared)
    for module in again.modules():
        for key in single.hook_ids & module._forward_hooks.keys():
            del module._forward_hooks[key]
    return again
