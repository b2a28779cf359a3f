"""Methods of the peft library, by peft itself; ``peft`` in an entry passes further fields to its configuration."""

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
_DOWN = "mlp_out"


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
    """``size`` trained numbers a projection, spread by fixed random ones over a core of rank 2 (arXiv 2602.04118)."""
    applied = _tuner(backbone, "TinyLoraConfig", {"u": options["size"]}, options)
    for module in applied.module.modules() if applied.module is not None else ():
        for name in ("tinylora_A", "tinylora_B"):  # peft keeps them as the weights are, which its own numbers are not
            for key, value in getattr(module, name, {}).items():
                getattr(module, name)[key] = value.float()
    return applied


def unilora(backbone: nn.Module, options: Options) -> Applied:
    """``size`` trained numbers in all, each of which stands in many places of a LoRA of rank 4 (arXiv 2506.00799).

    They start at small random values, as at zero neither factor would have a gradient.
    """
    return _tuner(backbone, "UniLoraConfig", {"theta_d_length": options["size"]}, options)


def fourierft(backbone: nn.Module, options: Options) -> Applied:
    """``size`` trained frequencies a projection, drawn at random (Gao et al. 2024, arXiv 2405.03003); from zero on."""
    return _tuner(backbone, "FourierFTConfig", {"n_frequency": options["size"], "init_weights": True}, options)


def adalora(backbone: nn.Module, options: Options) -> Applied:
    """LoRA in SVD form whose ranks fall to ``size`` on the mean (Zhang et al. 2023, arXiv 2303.10512).

    It starts at half as many again, as in the paper; ``params`` counts the ranks that are left.
    """
    size = options["size"]
    fields = {"init_r": max(size + 1, 3 * size // 2), "target_r": size, "lora_alpha": ALPHA, "total_step": 2**30}
    applied = _tuner(backbone, "AdaLoraConfig", fields, options)
    model: Any = applied.module
    applied.controller = lambda steps: _Allocation(model, steps, options.get("peft", {}))
    applied.count = lambda: _standing(model)
    applied.description = 2 * sum("lora_E" in name for name, _ in model.named_parameters())  # the rank of each site
    return applied


def ia3(backbone: nn.Module, options: Options) -> Applied:
    """Rescaled keys, values and inputs of the MLP's second projection (Liu et al. 2022, arXiv 2205.05638)."""
    inner = _named(backbone, (_DOWN,))
    targets = {"target_modules": [*_named(backbone, _KEYS_AND_VALUES), *inner], "feedforward_modules": inner}
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

    fields = {"num_virtual_tokens": options["size"], "task_type": "FEATURE_EXTRACTION"}
    config = _config("PrefixTuningConfig", fields, options)
    with _as_user_errors(), _quiet(), _restored(backbone):
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
    """Any other method of peft that goes on projections, ``tuner`` by its name there, as peft sets it up."""
    known = tuners()
    name = str(options["tuner"])
    if name not in known:
        hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
        raise SlatError(f"baselines.tuner: peft has no {name!r} that goes on projections{hint}")
    applied = _tuner(backbone, known[name], {}, options)
    try:
        with torch.no_grad():
            backbone(input_ids=torch.ones(1, 2, dtype=torch.long, device=next(backbone.parameters()).device))
    except Exception as error:  # whatever it is, this model and that method do not go together
        applied.undo()
        raise SlatError(f"baselines.tuner: {name} of peft does not run on this model: {error!r}") from error
    return applied


def tuners() -> dict[str, str]:
    """Name -> class of its configuration, of every method of the installed peft that goes on projections."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

    return {
        kind.value.lower(): config.__name__
        for kind, config in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items())
        if kind in PEFT_TYPE_TO_TUNER_MAPPING and "target_modules" in {field.name for field in fields(config)}
    }


def _tuner(backbone: nn.Module, config_name: str, fields: dict[str, Any], options: Options) -> Applied:
    """Put a method of peft that replaces modules on the backbone.

    Where peft is told how to, by further fields, it may take a part out of frozen weights (PiSSA, OLoRA) or train some
    of them (``bias``); it then works on a copy of the backbone's values.
    """
    import peft

    if "target_modules" not in fields | options.get("peft", {}):
        fields = fields | {"target_modules": _named(backbone, options["roles"])}
    config = _config(config_name, fields, options)
    was = BackboneSnapshot(backbone, copies=_is_told(options))

    def restore() -> None:
        was.restore()
        vars(backbone).pop("peft_config", None)

    with _as_user_errors(), _quiet(), _drawn(options):
        try:
            model = peft.get_peft_model(backbone, config)
        except BaseException:
            restore()
            raise

    def undo() -> None:
        model.unload()
        restore()

    return Applied(model, None, undo)


def _is_told(options: Options) -> bool:
    """Whether an entry says more than what we set up ourselves."""
    return "tuner" in options or bool(options.get("peft"))


def _config(name: str, wanted: dict[str, Any], options: Options) -> Any:
    """Build a peft configuration; the user's fields take precedence.

    Raises:
        SlatError: peft knows no such field, or refuses a value.
    """
    import peft

    kind = getattr(peft, name)
    known = [field.name for field in fields(kind)]
    for field in options.get("peft", {}):
        if field not in known:
            raise SlatError(f"baselines.peft: {name} of peft has no field {field!r}{did_you_mean(field, known)}")
    with _as_user_errors():
        return kind(**wanted | options.get("peft", {}))


def _named(backbone: nn.Module, roles: Sequence[str]) -> list[str]:
    return [site.name for site in projections(find_sites(backbone), roles)]


@contextmanager
def _as_user_errors() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        raise SlatError(f"baselines: peft says: {error}") from error


@contextmanager
def _drawn(options: Options) -> Iterator[None]:
    """Draw by the seed of the training alone, where peft is told how to start: what it draws may stay frozen, is not
    saved, and has to be the same when trained weights are loaded."""
    if not _is_told(options):
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
def _restored(backbone: nn.Module) -> Iterator[None]:
    """Leave no name of peft's behind on a backbone that it only reads."""
    before = set(vars(backbone))
    yield
    for name in set(vars(backbone)) - before:
        delattr(backbone, name)


def _in_float32(model: nn.Module | None) -> None:
    """Keep and compute in float32 what is trained of a backbone in half precision; peft sees to that for weights it
    adds, and not for copies of the backbone's own."""
    for module in model.modules() if model is not None else ():
        own = [p.dtype for p in module.parameters(recurse=False) if p.requires_grad]
        if own and own[0] != torch.float32:
            module.float()
            module.register_forward_pre_hook(lambda _, args: tuple(x.float() for x in args))
            module.register_forward_hook(lambda _, args, y, half=own[0]: y.to(half))


class _Allocation(Controller):
    """AdaLoRA's part in the loop: the orthogonality term, and ranks that fall over the middle of a training.

    The phases are shares of the steps, a tenth at the start with all ranks and three tenths at the end with the last
    ones; ``tinit``, ``tfinal`` and ``deltaT`` among the fields of peft are steps, and go before.
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
        """Mean distance of both bases from orthonormal ones; peft adds it to a loss that a backbone does not have."""
        grams = [p @ p.T if "lora_A" in name else p.T @ p for name, p in self._bases]
        terms = [torch.linalg.norm(gram - torch.eye(len(gram), device=gram.device)) for gram in grams]
        return self._weight * torch.stack(terms).mean()

    def after_step(self, step: int, optimizer: Optimizer) -> None:
        self._model.base_model.update_and_allocate(step)


def _standing(model: nn.Module) -> int:
    """Count the parameters of unmasked ranks."""
    total = 0
    for name, value in model.named_parameters():
        if "lora_E" in name:
            down = model.get_parameter(name.replace("lora_E", "lora_A"))
            up = model.get_parameter(name.replace("lora_E", "lora_B"))
            masked = int((value == 0).sum()) if value.any() else 0  # before training all are 0
            total += (value.numel() - masked) * (down.shape[1] + up.shape[0] + 1)
    return total
