"""Methods of the peft library, run by peft itself; the option ``peft`` sets further fields of its configuration."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..controller import Controller
from ..errors import SlatError, did_you_mean
from ..structure import find_sites
from .applied import ALPHA, Applied, Options
from .places import projections
from .snapshot import BackboneSnapshot

_KEYS_AND_VALUES = ("k", "v", "qkv")
_DOWN_PROJECTION = "mlp_out"


def lora(backbone: nn.Module, options: Options) -> Applied:
    """LoRA of rank ``size`` on ``roles``, ``lora_alpha = 16`` (Hu et al. 2021, arXiv 2106.09685)."""
    return _tuner(backbone, "LoraConfig", {"r": options["size"], "lora_alpha": ALPHA}, options)


def dora(backbone: nn.Module, options: Options) -> Applied:
    """LoRA of the direction, and a trained magnitude (Liu et al. 2024, arXiv 2402.09353)."""
    return _tuner(backbone, "LoraConfig", {"r": options["size"], "lora_alpha": ALPHA, "use_dora": True}, options)


def vera(backbone: nn.Module, options: Options) -> Applied:
    """Trained scales of random projections that all sites share (Kopiczko et al. 2024, arXiv 2310.11454)."""
    return _tuner(backbone, "VeraConfig", {"r": options["size"]}, options)


def tinylora(backbone: nn.Module, options: Options) -> Applied:
    """``size`` trained numbers per projection, mapped by fixed random ones to a core of rank 2 (arXiv 2602.04118)."""
    applied = _tuner(backbone, "TinyLoraConfig", {"u": options["size"]}, options)
    for module in applied.module.modules() if applied.module is not None else ():
        # peft stores these in the precision of the weights, unlike its trained numbers
        for name in ("tinylora_A", "tinylora_B"):
            for key, value in getattr(module, name, {}).items():
                getattr(module, name)[key] = value.float()
    return applied


def unilora(backbone: nn.Module, options: Options) -> Applied:
    """``size`` trained numbers in all, each of which is used at many positions of a LoRA of rank 4 (arXiv 2506.00799).

    They start at small random values, as neither factor would have a gradient at zero.
    """
    return _tuner(backbone, "UniLoraConfig", {"theta_d_length": options["size"]}, options)


def fourierft(backbone: nn.Module, options: Options) -> Applied:
    """``size`` random frequencies per projection, trained from zero (Gao et al. 2024, arXiv 2405.03003)."""
    return _tuner(backbone, "FourierFTConfig", {"n_frequency": options["size"], "init_weights": True}, options)


def adalora(backbone: nn.Module, options: Options) -> Applied:
    """LoRA in SVD form whose ranks fall to a mean of ``size`` (Zhang et al. 2023, arXiv 2303.10512).

    It starts at 1.5 times ``size``, as in the paper; ``params`` counts the remaining ranks.
    """
    size = options["size"]
    settings = {"init_r": max(size + 1, 3 * size // 2), "target_r": size, "lora_alpha": ALPHA, "total_step": 2**30}
    applied = _tuner(backbone, "AdaLoraConfig", settings, options)
    model: Any = applied.module
    applied.controller = lambda steps: _Allocation(model, steps, options.get("peft", {}))
    applied.count = lambda: _remaining_params(model)
    applied.description = 2 * sum("lora_E" in name for name, _ in model.named_parameters())  # the rank of each site
    return applied


def ia3(backbone: nn.Module, options: Options) -> Applied:
    """Rescaled keys, values and inputs of the MLP's second projection (Liu et al. 2022, arXiv 2205.05638)."""
    down_projections = _site_names(backbone, (_DOWN_PROJECTION,))
    targets = {
        "target_modules": [*_site_names(backbone, _KEYS_AND_VALUES), *down_projections],
        "feedforward_modules": down_projections,
    }
    return _tuner(backbone, "IA3Config", targets, options)


def layernorm(backbone: nn.Module, options: Options) -> Applied:
    """All norms of the blocks (Zhao et al. 2023, arXiv 2312.11420)."""
    targets = [site.name for site in find_sites(backbone) if site.is_norm]
    applied = _tuner(backbone, "LNTuningConfig", {"target_modules": targets}, options)
    _in_float32(applied.module)
    return applied


def prefix(backbone: nn.Module, options: Options) -> Applied:
    """``size`` trained key and value vectors before the text in each block (Li and Liang 2021, arXiv 2101.00190)."""
    import peft

    settings = {"num_virtual_tokens": options["size"], "task_type": "FEATURE_EXTRACTION"}
    config = _config("PrefixTuningConfig", settings, options)
    with _as_user_errors(), _quiet(), _without_traces(backbone):
        model = peft.get_peft_model(backbone, config)

    def prepend(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Do what ``PeftModelForFeatureExtraction.forward`` does before it calls the backbone."""
        mask = kwargs["attention_mask"]
        visible = mask.new_ones(len(mask), config.num_virtual_tokens)
        vectors = model.get_prompt(len(mask))
        return args, kwargs | {"attention_mask": torch.cat((visible, mask), dim=1), "past_key_values": vectors}

    hook = backbone.register_forward_pre_hook(prepend, with_kwargs=True)
    return Applied(model.prompt_encoder, None, hook.remove)


def tuner(backbone: nn.Module, options: Options) -> Applied:
    """Any other method of peft for projections, with peft's defaults; ``tuner`` is its name there."""
    config_names = tuners()
    name = str(options["tuner"])
    if name not in config_names:
        hint = did_you_mean(name, config_names) or f"; it has {', '.join(config_names)}"
        raise SlatError(f"baselines.tuner: peft has no {name!r} that goes on projections{hint}")
    applied = _tuner(backbone, config_names[name], {}, options)
    try:
        with torch.no_grad():
            backbone(input_ids=torch.ones(1, 2, dtype=torch.long, device=next(backbone.parameters()).device))
    except Exception as error:  # of any kind: the method does not work with this model
        applied.undo()
        raise SlatError(f"baselines.tuner: {name} of peft does not run on this model: {error!r}") from error
    return applied


def tuners() -> dict[str, str]:
    """Return name -> configuration class of every method of the installed peft that is applied to projections."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    return {
        kind.value.lower(): config.__name__
        for kind, config in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items())
        if kind in PEFT_TYPE_TO_TUNER_MAPPING and "target_modules" in {field.name for field in fields(config)}
    }


def _tuner(backbone: nn.Module, config_name: str, settings: dict[str, Any], options: Options) -> Applied:
    """Put a method of peft that replaces modules on the backbone.

    With further fields peft may subtract a part from frozen weights (PiSSA, OLoRA) or train some of them (``bias``); it
    then works on a copy of the backbone's values.
    """
    import peft

    if "target_modules" not in settings | options.get("peft", {}):
        settings = settings | {"target_modules": _site_names(backbone, options["roles"])}
    config = _config(config_name, settings, options)
    snapshot = BackboneSnapshot(backbone, copies=_is_customized(options))

    def restore() -> None:
        snapshot.restore()
        vars(backbone).pop("peft_config", None)

    with _as_user_errors(), _quiet(), _seeded(options):
        try:
            model = peft.get_peft_model(backbone, config)
        except BaseException:
            restore()
            raise

    def undo() -> None:
        model.unload()
        restore()

    return Applied(model, None, undo)


def _is_customized(options: Options) -> bool:
    """Whether the options set fields of peft's configuration, or name a tuner."""
    return "tuner" in options or bool(options.get("peft"))


def _config(name: str, settings: dict[str, Any], options: Options) -> Any:
    """Build a peft configuration; the user's fields override ``settings``.

    Raises:
        SlatError: peft has no such field, or refuses a value.
    """
    import peft

    config_class = getattr(peft, name)
    field_names = [field.name for field in fields(config_class)]
    for field in options.get("peft", {}):
        if field not in field_names:
            raise SlatError(f"baselines.peft: {name} of peft has no field {field!r}{did_you_mean(field, field_names)}")
    with _as_user_errors():
        return config_class(**settings | options.get("peft", {}))


def _site_names(backbone: nn.Module, roles: Sequence[str]) -> list[str]:
    return [site.name for site in projections(find_sites(backbone), roles)]


@contextmanager
def _as_user_errors() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        raise SlatError(f"baselines: peft says: {error}") from error


@contextmanager
def _seeded(options: Options) -> Iterator[None]:
    """Draw by the seed of the training alone in the block, where the options customize peft.

    Its random numbers may be frozen and unsaved, and must be the same when trained weights are loaded.
    """
    if not _is_customized(options):
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(options.get("seed", 0))
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence peft's warnings about an earlier adapter on the same backbone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _without_traces(backbone: nn.Module) -> Iterator[None]:
    """Remove the attributes that peft sets in the block on a backbone that it only reads."""
    attributes = set(vars(backbone))
    yield
    for name in set(vars(backbone)) - attributes:
        delattr(backbone, name)


def _in_float32(model: nn.Module | None) -> None:
    """Store and compute the trained weights of a backbone in half precision in float32.

    Peft does this for weights that it adds, but not for copies of the backbone's own.
    """
    for module in model.modules() if model is not None else ():
        dtypes = [p.dtype for p in module.parameters(recurse=False) if p.requires_grad]
        if dtypes and dtypes[0] != torch.float32:
            module.float()
            module.register_forward_pre_hook(lambda _, args: tuple(x.float() for x in args))
            module.register_forward_hook(lambda _, args, y, half=dtypes[0]: y.to(half))


class _Allocation(Controller):
    """What AdaLoRA adds to the training loop: the orthogonality term, and ranks that fall in its middle.

    The phases are fractions of the steps: a tenth at the start with all ranks, and three tenths at the end with the
    final ones. ``tinit``, ``tfinal`` and ``deltaT`` among the fields of peft are steps, and take precedence.
    """

    def __init__(self, model: Any, steps: int, options: Mapping[str, Any]):
        self._model, self._steps = model, steps
        config = model.peft_config["default"]
        config.total_step = steps
        config.tinit = options.get("tinit", steps // 10)
        config.tfinal = options.get("tfinal", 3 * steps // 10)
        config.deltaT = options.get("deltaT", max(1, steps // 50))
        self._weight = config.orth_reg_weight
        self._bases = [(n, p) for n, p in model.named_parameters() if "lora_A" in n or "lora_B" in n]

    def loss(self) -> Tensor | None:
        """Return the mean distance of both bases from orthonormal ones, which peft adds only to a model's own loss."""
        grams = [p @ p.T if "lora_A" in name else p.T @ p for name, p in self._bases]
        terms = [torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device)) for gram in grams]
        return self._weight * torch.stack(terms).mean()

    def after_step(self, step: int, optimizer: Optimizer) -> None:
        self._model.base_model.update_and_allocate(step)


def _remaining_params(model: nn.Module) -> int:
    """Return the number of parameters of unmasked ranks."""
    total = 0
    for name, value in model.named_parameters():
        if "lora_E" in name:
            down = model.get_parameter(name.replace("lora_E", "lora_A"))
            up = model.get_parameter(name.replace("lora_E", "lora_B"))
            masked = int((value == 0).sum()) if value.any() else 0  # before training all are 0
            total += (value.numel() - masked) * (down.shape[1] + up.shape[0] + 1)
    return total
