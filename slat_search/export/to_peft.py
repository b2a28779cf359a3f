"""A trained adapter as an adapter of the peft library that computes the same."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel

from ..errors import SlatError
from ..structure import Adapter, SharedAdapter, attach_alone
from .lora_weights import DOWN, SHIFT, in_one_rank, lora_weights, norm_weights
from .peft_config import config_of, only_here, uniform

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
        _check_for_servers(saved)
        loras = in_one_rank(loras, whole)
    bare = _frozen_copy(whole, adapter)
    config = config_of(
        {name: len(lora[DOWN]) for name, lora in loras.items()},
        saved,
        own.options.scale,
        lora_bias=any(SHIFT in lora for lora in loras.values()),
        fan_in_fan_out=any(type(bare.get_submodule(name)).__name__ == "Conv1D" for name in loras),
        task_type=kind,
    )
    if uniform_rank:
        config = uniform(config, loras, bare)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft uses what transformers has renamed
        wrapped = get_peft_model(bare, config)
    _load(wrapped, loras, norms)
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


def _check_for_servers(saved: Sequence[str]) -> None:
    """Check that no module is saved whole.

    Raises:
        SlatError: one is.
    """
    if saved:
        raise SlatError(
            f"export: servers of LoRA read no module that was trained whole, and this adapter has {saved[0]}; "
            "leave out uniform_rank, or export without a head"
        )


@torch.no_grad()
def _load(wrapped: PeftModel, loras: Mapping[str, Mapping[str, Tensor]], norms: Mapping[str, Any]) -> None:
    """Copy the weights of LoRA, and those of norms that are saved whole, into a peft model; both by module."""
    model = wrapped.base_model.model
    for name, lora in loras.items():
        for weight, value in lora.items():
            part, _, parameter = weight.partition(".")
            model.get_submodule(f"{name}.{part}.default").get_parameter(parameter).copy_(value)
    for name, norm in norms.items():
        model.get_submodule(f"{name}.modules_to_save.default").load_state_dict(norm)


def write_peft(model: PeftModel, out: Path) -> None:
    """Write an adapter of peft without peft's README, a form to fill in, and without asking the hub anything."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Adapter .* invalid shape", UserWarning)  # peft takes biases for shards
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
