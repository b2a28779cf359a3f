"""Convert a trained adapter to an adapter of the peft library that computes the same."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from ..errors import SlatError
from ..structure import Adapter, SharedAdapter, attach_alone
from .lora_weights import DOWN, SHIFT, Loras, in_one_rank, lora_weights, norm_weights
from .peft_config import config_of, only_here, uniform

#: task type of peft -> the classes of transformers that peft's class of that type wraps
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
        adapter: adapter with trained weights; of a pool of several tasks the part of the current task is converted.
        model: model that contains the sites of the adapter; by default the model that it is attached to. It may be a
            class with a head around that model or around a copy of it.
        task_type: ``SEQ_CLS``, ``CAUSAL_LM`` or ``FEATURE_EXTRACTION``; by default that of the model's class.
        modules_to_save: name or names of further modules that were trained and are saved completely. With ``SEQ_CLS``
            the head is among them anyway.
        uniform_rank: pad with zeros to one rank and one alpha, at the same projections of all blocks, for servers that
            read nothing else (vLLM, TGI).
        base_name: public name of the model; by default the name that it was loaded by.
        out: folder that does not exist yet, or is empty.

    Raises:
        SlatError: modules that peft, or a server, cannot hold; no module on a projection; a model that lacks the sites
            of the adapter or ``modules_to_save``, or is not of the task type; or ``out`` is not empty or cannot be
            written.
    """
    task_adapter, backbone = _task_adapter(adapter)
    full_model = backbone if model is None else model
    kind = task_type or _task_type(full_model)
    _check_class(full_model, kind)
    extra_modules = [modules_to_save] if isinstance(modules_to_save, str) else modules_to_save
    _check_modules(full_model, extra_modules)
    if out is not None:
        _check_headless(full_model, kind)
        check_empty(Path(out), "to_peft: out")
    prefix = _prefix(task_adapter, full_model)
    loras = {prefix + name: weights for name, weights in lora_weights(task_adapter).items()}
    norms = {prefix + name: weights for name, weights in norm_weights(task_adapter).items()}
    saved_modules = [*norms, *extra_modules]
    if kind == "SEQ_CLS":
        saved_modules += [name for name in head_modules(full_model) if name not in saved_modules]
    if uniform_rank:
        _check_for_servers(saved_modules)
        loras = in_one_rank(loras, full_model)
    base_model = _frozen_copy(full_model, adapter)
    config = _lora_config(base_model, loras, saved_modules, task_adapter.options.scale, kind)
    if uniform_rank:
        config = uniform(config, loras, base_model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses what transformers has renamed
        peft_model = get_peft_model(base_model, config)
    _load_weights(peft_model, loras, norms)
    if base_name is not None:
        peft_model.peft_config["default"].base_model_name_or_path = base_name
    if not uniform_rank:
        only_here(peft_model)
    if out is not None:
        try:
            write_peft(peft_model, Path(out))
        except OSError as error:
            raise SlatError(f"to_peft: out: cannot write {out}: {error.strerror or error}") from error
    return peft_model.train(full_model.training)


def _lora_config(model: nn.Module, loras: Loras, saved_modules: Sequence[str], scale: float, kind: str) -> LoraConfig:
    """Return the configuration of LoRA by module in ``model``, and of modules that are saved completely."""
    return config_of(
        {name: len(lora[DOWN]) for name, lora in loras.items()},
        saved_modules,
        scale,
        lora_bias=any(SHIFT in lora for lora in loras.values()),
        fan_in_fan_out=any(type(model.get_submodule(name)).__name__ == "Conv1D" for name in loras),
        task_type=kind,
    )


def _check_for_servers(saved: Sequence[str]) -> None:
    """Check that no module is saved completely, as servers of LoRA do not read such modules.

    Raises:
        SlatError: there is such a module.
    """
    if saved:
        raise SlatError(
            f"export: servers of LoRA read no module that was trained whole, and this adapter has {saved[0]}; "
            "leave out uniform_rank, or export without a head"
        )


@torch.no_grad()
def _load_weights(peft_model: PeftModel, loras: Mapping[str, Mapping[str, Tensor]], norms: Mapping[str, Any]) -> None:
    """Copy the weights of LoRA, and those of norms that are saved completely, into a peft model; both by module."""
    model = peft_model.base_model.model
    for name, lora in loras.items():
        for weight, value in lora.items():
            part, _, parameter = weight.partition(".")
            model.get_submodule(f"{name}.{part}.default").get_parameter(parameter).copy_(value)
    for name, norm in norms.items():
        model.get_submodule(f"{name}.modules_to_save.default").load_state_dict(norm)


def write_peft(model: PeftModel, out: Path) -> None:
    """Write an adapter of peft without peft's README, which is a form to fill in, and without a request to the hub."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Adapter .* invalid shape", UserWarning)  # peft takes biases for shards
        model.save_pretrained(out, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)


def check_empty(out: Path, option: str) -> None:
    """Check that a folder does not exist yet, or is empty.

    Raises:
        SlatError: it is a file, or is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SlatError(f"{option}: {out} is not an empty folder; choose another")


def head_modules(model: nn.Module) -> list[str]:
    """Return the names of the modules with weights that a class with a head has beside its backbone."""
    backbone = getattr(model, "base_model", None)
    return [
        name
        for name, child in model.named_children()
        if child is not backbone and next(child.parameters(), None) is not None
    ]


def _task_adapter(adapter: Adapter | SharedAdapter) -> tuple[Adapter, nn.Module]:
    """Return the adapter of one task, and the model that it belongs to. Of a pool the adapter is new and detached."""
    if isinstance(adapter, SharedAdapter):
        backbone = adapter.adapter.backbone
        task_adapter = attach_alone(backbone, *adapter.alone(adapter.task))
        task_adapter.detach()
        return task_adapter, backbone
    if any(site.gates for site in adapter.site_adapters()):
        raise SlatError("to_peft: the adapter has gates; give the pool (`SharedAdapter`), or what `discretize` returns")
    return adapter, adapter.backbone


def _task_type(model: nn.Module) -> str:
    return next((kind for kind, classes in CLASSES.items() if type(model) in classes.values()), "FEATURE_EXTRACTION")


def _check_class(model: nn.Module, kind: str) -> None:
    if kind not in TASK_TYPES:
        raise SlatError(f"to_peft: task_type is one of {', '.join(TASK_TYPES)}, not {kind!r}")
    if kind in CLASSES and isinstance(model, PreTrainedModel) and type(model) not in CLASSES[kind].values():
        raise SlatError(
            f"to_peft: {type(model).__name__} is no class of task type {kind}, under which its modules have other "
            "names; give the class with its head as `model`"
        )


def _check_headless(model: nn.Module, kind: str) -> None:
    """Raise if a folder would name modules inside a class with a head, although it is loaded into the bare model."""
    backbone = getattr(model, "base_model", model)
    if kind == "FEATURE_EXTRACTION" and isinstance(model, PreTrainedModel) and backbone is not model:
        class_type = next((name for name, types in CLASSES.items() if type(model) in types.values()), None)
        advice = f"choose {class_type}" if class_type else "attach the adapter to its base_model and give that"
        raise SlatError(
            f"to_peft: a folder of task type {kind} loads into the bare model, and {type(model).__name__} has a head "
            f"around it; {advice}"
        )


def _check_modules(model: nn.Module, names: Sequence[str]) -> None:
    module_names = [name for name, _ in model.named_modules()]
    for name in names:
        if not name or not any(module.endswith(name) for module in module_names):  # as peft compares them
            raise SlatError(
                f"to_peft: modules_to_save: {type(model).__name__} has no module {name!r}; give names of its modules, "
                "as named_modules() has them"
            )


def _prefix(adapter: Adapter, model: nn.Module) -> str:
    """Return the prefix that the names of the adapter's sites have in ``model``.

    Raises:
        SlatError: ``model`` does not have the sites.
    """
    sites = [site.site for site in adapter.site_adapters()]
    modules = dict(model.named_modules())
    names = {module: name for name, module in modules.items()}
    for site in sites:
        prefix = names.get(adapter.layer(site))
        if prefix is not None and prefix.endswith(site.name):
            return prefix.removesuffix(site.name)
    prefixes = ["", *(f"{name}." for name, module in modules.items() if name and isinstance(module, PreTrainedModel))]
    for candidate in prefixes:
        if all(_has_same_shape(adapter.layer(site), modules.get(candidate + site.name)) for site in sites):
            return candidate
    raise SlatError(f"to_peft: {type(model).__name__} has no {sites[0].name} of the adapter's size")


def _has_same_shape(layer: nn.Module, candidate: nn.Module | None) -> bool:
    if type(candidate) is not type(layer):
        return False
    return candidate.get_parameter("weight").shape == layer.get_parameter("weight").shape


def _frozen_copy(model: nn.Module, adapter: Adapter | SharedAdapter) -> Any:
    """Return a copy of the model without the adapter's hooks, which shares the weights in memory: peft replaces modules
    and changes what is trained, and the caller's model must not change."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    memo |= {id(b): b for b in model.buffers()}
    task_adapter = adapter.adapter if isinstance(adapter, SharedAdapter) else adapter
    copied_model = copy.deepcopy(model, memo)
    for module in copied_model.modules():
        for key in task_adapter.hook_ids & module._forward_hooks.keys():
            del module._forward_hooks[key]
    return copied_model
