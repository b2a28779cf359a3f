"""A structure search in the ``Trainer`` of transformers, and in those of trl that are built on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import SlatError
from ..structure import Adapter, Structure, Supernet
from ..structure.attachment import REGISTERED
from ..structure.extra_state import pack, unpack
from ..training.gate_schedule import ScreeningSearch, SearchPlan, StructureSearch, controller_for
from .optimizer_groups import SearchGroups
from .processes import GradientMean, broadcast_from_first, is_distributed, mean_of_processes

_SEARCH_STATE = "search"  # name of the state of a training among the submodules of the supernet
_SIZE = "eval_adapter_params"  # metric of an evaluation


class SlatCallback(TrainerCallback):
    """Searches a structure while a ``Trainer`` trains, with the schedule of the command line.

    The supernet becomes a submodule of its backbone, so that the Trainer's clipping, evaluation, checkpoints and
    mixed precision reach it; ``supernet.detach()`` undoes that. Candidates are added to the Trainer's optimizer, at its
    learning rate times ``search.lr_factor``, and removed from it. Evaluation measures the discretized structure.

    Example::

        model.requires_grad_(False)
        callback = SlatCallback(Supernet(model, find_sites(model)), SearchPlan(budget=1000))
        Trainer(model, args, train_dataset=data, callbacks=[callback]).train()
        save_adapter(callback.adapter, "adapter.safetensors")

    Args:
        supernet: of one task, on the model that is trained or on a frozen part of it.
        plan: pressure of the search.
        model: the model that is trained, if its weights are kept in few bits and the supernet stands on a part of it.

    Attributes:
        search: the schedule; None before the training.

    Raises:
        SlatError: a supernet of several tasks, a detached one, or one beside another on the same model; or a budget
            that is not a whole number, or below the parameters of every candidate.
    """

    def __init__(self, supernet: Supernet, plan: SearchPlan | None = None, model: nn.Module | None = None):
        if len(supernet.tasks) > 1:
            raise SlatError("SlatCallback: a supernet of several tasks cannot be searched in a Trainer, which has one")
        if supernet.adapter.sites and not supernet.adapter.hook_ids:
            raise SlatError("SlatCallback: the supernet was detached from its model; make another one")
        self.supernet, self.plan = supernet, plan or SearchPlan()
        _check_plan(self.plan, supernet)
        self.search: ScreeningSearch | StructureSearch | None = None
        self._groups: SearchGroups | None = None
        self._gradient_mean = GradientMean()
        self._input_gradient_model: Any = None
        self._search_state = _SearchState(self)
        supernet.register()
        supernet.add_module(_SEARCH_STATE, self._search_state)
        self._quantizer = _TrainableQuantizer(model or supernet.backbone)
        self._freeze()

    @property
    def adapter(self) -> Adapter:
        """Return the found adapter once the training has ended; before that, all remaining candidates."""
        return self.supernet.adapter

    @property
    def structure(self) -> Structure:
        """Return the current discretized structure, as evaluation measures it."""
        structure = self.supernet.structure()
        assert isinstance(structure, Structure)
        return structure

    # -- events of the Trainer, in the order in which they occur -------------------------------------------

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check the model and the arguments."""
        model = kwargs["model"]
        self._quantizer.restore()
        _check_arguments(args, model, self.supernet)
        self._freeze()
        if AcceleratorState().distributed_type == "MULTI_CPU" and not any(p.requires_grad for p in model.parameters()):
            # DDP needs a trained parameter, and on CPUs there is always DDP
            self._search_state.placeholder = nn.Parameter(torch.zeros(1))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add the candidates to the optimizer, and resume from a checkpoint."""
        model, supernet = kwargs["model"], self.supernet
        _check_arguments(args, model, supernet)
        if args.load_best_model_at_end and supernet.gates is not None:
            raise SlatError("load_best_model_at_end: the best checkpoint may hold another structure than the last; "
                            "leave it out, and load the adapter of a checkpoint with load_adapter")  # fmt: skip
        if state.global_step and not self._search_state.loaded:
            raise SlatError(f"checkpoint of step {state.global_step}: it holds no search that could go on")
        if state.global_step:
            self._check_same_plan(state.global_step)
        self._prepare_checkpointing(model)
        search_ids = set(map(id, supernet.parameters()))
        is_search_alone = not any(p.requires_grad and id(p) not in search_ids for p in model.parameters())
        if is_search_alone and supernet.options.kind == "screening":  # there is no head to warm up
            supernet.options = replace(supernet.options, warmup=0.0)
        supernet.adapter.requires_grad_(True)
        self.search = controller_for(supernet, self.plan, state.max_steps)
        if is_distributed():
            broadcast_from_first(tensor for tensor in supernet.state_dict().values() if torch.is_floating_point(tensor))
        optimizer, scheduler = (
            _unwrapped(kwargs["optimizer"], "optimizer"),
            _unwrapped(kwargs["lr_scheduler"], "scheduler"),
        )
        modules, gates = list(supernet.adapter.parameters()), self.search.parameter_groups()
        self._groups = SearchGroups(optimizer, scheduler, modules, gates, args.weight_decay)
        if state.global_step:
            self.search.load_state_dict(self._search_state.loaded["search"], state.global_step)
            self._groups.load_state(self._search_state.loaded["optimizer"])
            self._search_state.loaded = {}
        self._gradient_mean.watch(self._search_parameters())

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Prepare the gates, and start the step's gradients with that of the sparsity loss."""
        search, _ = self._active_search()
        search.before_step(None)
        loss = search.loss()
        if loss is not None:
            loss.backward()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the learning rates of the candidates."""
        search, groups = self._active_search()
        groups.set_rates(search.lr_factor)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Judge candidates while the step's gradients exist, and remove some."""
        search, groups = self._active_search()
        if self.supernet.gates is not None:
            groups.check_state()
        self.supernet.take_measurements(mean_of_processes if is_distributed() else None)
        search.after_step(state.global_step + 1, groups.optimizer)
        self._gradient_mean.watch(self._search_parameters())

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Add the measured size to the log of an evaluation, and to its copy in the history."""
        if logs is not None and any(name.startswith("eval_") for name in logs) and self._is_registered:
            logs[_SIZE] = self.structure.params
            state.log_history[-1][_SIZE] = logs[_SIZE]

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Add the measured size."""
        if metrics is not None and self._is_registered:
            metrics[_SIZE] = self.structure.params

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Discretize if the schedule has not done so, and restore the optimizer."""
        _, groups = self._active_search()
        if self.supernet.gates is not None:
            warnings.warn(
                f"the training ended after {state.global_step} of {state.max_steps} steps, before its search did: "
                f"the structure has {self.structure.params} parameters, and was not trained on by itself",
                stacklevel=2,
            )
            self.supernet.discretize(groups.optimizer)
        self.supernet.adapter.active = True
        groups.remove()
        self._groups = self._search_state.placeholder = None
        self._gradient_mean.remove()
        if self._input_gradient_model is not None:
            self._input_gradient_model.disable_input_require_grads()
            self._input_gradient_model = None

    # -- helpers -------------------------------------------------------------------------------------------

    def _active_search(self) -> tuple[ScreeningSearch | StructureSearch, SearchGroups]:
        """Return the schedule and the optimizer groups of the running training.

        Raises:
            SlatError: no training is running.
        """
        if self.search is None or self._groups is None:
            raise SlatError("SlatCallback: the training has not begun, or has ended")
        return self.search, self._groups

    @property
    def _is_registered(self) -> bool:
        return getattr(self.supernet.backbone, REGISTERED, None) is self.supernet

    def _freeze(self) -> None:
        """Keep candidates out of the optimizer and DDP that the Trainer makes, from which they could not be removed."""
        self.supernet.requires_grad_(False)

    def _search_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.supernet.adapter.parameters()
        if self.supernet.gates is not None:
            yield from self.supernet.gates.variables

    def _check_same_plan(self, step: int) -> None:
        plan_pressure = _pressure(self.plan)
        checkpoint_pressure = self._search_state.loaded.get(
            "pressure", plan_pressure
        )  # earlier versions did not write it
        if checkpoint_pressure != plan_pressure:
            (saved_name, saved_value), (name, value) = checkpoint_pressure.popitem(), plan_pressure.popitem()
            raise SlatError(f"checkpoint of step {step}: its search has a {saved_name} of {saved_value:.12g}, and the "
                            f"plan a {name} of {value:.12g}; resume with the same, or search from the "
                            "start")  # fmt: skip

    def _prepare_checkpointing(self, model: Any) -> None:
        """Prepare for reentrant activation checkpointing, which needs inputs with a gradient."""
        self.supernet.reentrant = any(map(_is_reentrant, model.modules()))
        if self.supernet.reentrant and not getattr(model, "_require_grads_hooks", None):
            model.enable_input_require_grads()
            self._input_gradient_model = model

    def collect(self) -> dict[str, Any]:
        """Return the state of the training for a checkpoint, without the supernet's; empty without a training."""
        if self.search is None or self._groups is None:
            return {}
        return {
            "search": self.search.state_dict(),
            "optimizer": self._groups.state(),
            "pressure": _pressure(self.plan),
        }


class _TrainableQuantizer:
    """Makes the Trainer accept a model in few bits, in which it recognizes only adapters of peft as trainable.

    The Trainer asks the model's quantizer while it is made; until ``restore`` the quantizer says that it can be
    trained.
    """

    def __init__(self, model: nn.Module):
        self._quantizer: Any = getattr(model, "hf_quantizer", None)
        self._class = type(self._quantizer)
        if self._quantizer is not None:
            self._quantizer.__class__ = type(self._class.__name__, (self._class,), {"is_qat_trainable": True})

    def restore(self) -> None:
        """Give the quantizer its own class back."""
        if self._quantizer is not None:
            self._quantizer.__class__ = self._class


class _SearchState(nn.Module):
    """The state of a training inside the supernet's state dict, as a Trainer gives callbacks no file to read.

    Attributes:
        loaded: state of a checkpoint, until the training begins.
        placeholder: a parameter for DDP where the whole model is frozen.
    """

    def __init__(self, callback: SlatCallback):
        super().__init__()
        self._callback: SlatCallback | None = callback
        self.loaded: dict[str, Any] = {}
        self.placeholder: nn.Parameter | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Exclude the training from copies of the model."""
        return {**self.__dict__, "_callback": None}

    def get_extra_state(self) -> Tensor:
        return pack(self._callback.collect() if self._callback is not None else {})

    def set_extra_state(self, state: Tensor) -> None:
        self.loaded = unpack(state)


def _unwrapped(wrapped: Any, name: str) -> Any:
    """Return the optimizer or scheduler without accelerate's wrappers."""
    while hasattr(wrapped, name):
        wrapped = getattr(wrapped, name)
    return wrapped


def _is_reentrant(module: nn.Module) -> bool:
    function = getattr(module, "_gradient_checkpointing_func", None)
    return bool(
        getattr(module, "gradient_checkpointing", False) and getattr(function, "keywords", {}).get("use_reentrant")
    )


def _pressure(plan: SearchPlan) -> dict[str, float]:
    """Return the budget, or without one the sparsity, by its name."""
    return {"sparsity": float(plan.sparsity)} if plan.budget is None else {"budget": float(plan.budget)}


def _check_plan(plan: SearchPlan, supernet: Supernet) -> None:
    """Refuse a budget that no candidate fits, and warn of a plan that keeps every candidate.

    Raises:
        SlatError: the budget, in one sentence.
    """
    if plan.budget is None:
        if plan.sparsity == 0:
            warnings.warn("SlatCallback: the plan has neither a budget nor a sparsity, so every candidate is kept; "
                          "give SearchPlan(budget=...) or SearchPlan(sparsity=...)", stacklevel=3)  # fmt: skip
        return
    if plan.budget < 1 or plan.budget != int(plan.budget):
        raise SlatError(f"SearchPlan: budget must be a whole number of at least 1, not {plan.budget}")
    if supernet.gates is not None and len(supernet.costs) and plan.budget < (smallest := int(supernet.costs.min())):
        raise SlatError(f"SearchPlan: no candidate has so few parameters as the budget of {plan.budget}; "
                        f"give at least {smallest}")  # fmt: skip


def _check_arguments(args: TrainingArguments, model: nn.Module, supernet: Supernet) -> None:
    """Refuse settings that a search cannot train with.

    Raises:
        SlatError: the setting, in one sentence.
    """
    if all(module is not supernet for module in model.modules()):
        raise SlatError("SlatCallback: the supernet does not stand on the model of the Trainer, or was detached")
    kind = AcceleratorState().distributed_type
    if args.deepspeed or args.fsdp or not (kind == "NO" or kind.startswith("MULTI_")):
        raise SlatError("SlatCallback: DeepSpeed and FSDP keep to the parameters they begin with, and candidates "
                        "leave; train on one device or with torchrun (DDP)")  # fmt: skip
    if args.n_gpu > 1:
        raise SlatError("SlatCallback: several GPUs in one process are not supported; start one process a GPU with "
                        "torchrun")  # fmt: skip
    if args.auto_find_batch_size:
        raise SlatError("auto_find_batch_size: its retry cannot start a search anew, whose candidates have left; give "
                        "per_device_train_batch_size")  # fmt: skip
    if args.fp16:
        raise SlatError("fp16: its scaled gradients cannot be measured; use bf16")
    search_ids = set(map(id, supernet.parameters()))
    names = [name for name, p in supernet.backbone.named_parameters() if p.requires_grad and id(p) not in search_ids]
    if names:
        raise SlatError(f"SlatCallback: {names[0]} of the model below the supernet is not frozen; call "
                        "requires_grad_(False) on that model first")  # fmt: skip
