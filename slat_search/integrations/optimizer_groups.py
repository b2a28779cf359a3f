"""Parameter groups of a search in an optimizer that another library made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import SlatError

#: names of optimizers whose state is kept for rows and columns, not for single weights
_FACTORED = ("Adafactor",)
#: optimizer state of a group: for each parameter in order its values by name
GroupState = list[dict[str, Any]]


class SearchGroups:
    """The groups of a search in an optimizer, whose own groups, state and schedule stay as they are.

    The scheduler still sees only the optimizer's own groups. The state dict of the optimizer holds only them too, so it
    fits the optimizer that another process makes; the state of the search's groups is :meth:`state`.

    Args:
        optimizer: holds none of ``modules`` yet.
        scheduler: sets the learning rates of the optimizer's own groups.
        modules: parameters of the candidates, trained at the rate of the optimizer's first group.
        constant: further groups, each with a constant learning rate.
        weight_decay: of the modules.

    Raises:
        SlatError: an optimizer that takes no further groups, has no learning rate or whose state cannot shrink, or that
            holds ``modules`` already.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: Any,
        modules: Sequence[nn.Parameter],
        constant: Sequence[dict[str, Any]],
        weight_decay: float,
    ):
        if not isinstance(optimizer, Optimizer) or not isinstance(optimizer.param_groups[0].get("lr"), float | Tensor):
            raise SlatError(
                f"optimizer: {type(optimizer).__name__} takes no parameters with a learning rate of their own; "
                "choose a torch optimizer such as adamw_torch"
            )
        if any(kind.__name__ in _FACTORED for kind in type(optimizer).__mro__):
            raise self._cannot_shrink(optimizer)
        existing_ids = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        additions = [*modules, *(parameter for group in constant for parameter in group["params"])]
        if any(id(parameter) in existing_ids for parameter in additions):
            raise SlatError("optimizer: it holds candidates already; make SlatCallback first, it adds them by itself")
        self.optimizer, self._own_count = optimizer, len(optimizer.param_groups)
        module_group: dict[str, Any] = {"params": list(modules), "lr": optimizer.param_groups[0]["lr"]}
        optimizer.add_param_group(
            module_group | ({"weight_decay": weight_decay} if "weight_decay" in optimizer.defaults else {})
        )
        for group in constant:
            optimizer.add_param_group(group)
        self._constant_rates = [group["lr"] for group in constant]
        self._scheduler, self._scheduler_optimizer = scheduler, scheduler.optimizer
        scheduler.optimizer = _OwnGroups(scheduler.optimizer, self._own_count)
        self._hook = optimizer.register_state_dict_post_hook(self._without_search_groups)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of the search: that of the modules, then the constant ones."""
        return self.optimizer.param_groups[self._own_count :]

    def set_rates(self, factor: float) -> None:
        """Set the learning rates of the next step: ``factor`` times the scheduled one for the modules."""
        modules, *constant = self.groups
        modules["lr"] = factor * self.optimizer.param_groups[0]["lr"]
        for group, rate in zip(constant, self._constant_rates, strict=True):
            group["lr"] = rate

    def check_state(self) -> None:
        """Check that the state of the candidates can follow when atoms leave.

        Raises:
            SlatError: a value is neither of the shape of its parameter nor a single number.
        """
        for parameter in (parameter for group in self.groups for parameter in group["params"]):
            for value in self.optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape:
                    raise self._cannot_shrink(self.optimizer)

    @staticmethod
    def _cannot_shrink(optimizer: Optimizer) -> SlatError:
        return SlatError(
            f"optimizer: the state of {type(optimizer).__name__} is not kept for each weight, so it cannot follow "
            "candidates that leave; choose another such as adamw_torch"
        )

    def state(self) -> list[GroupState]:
        """Return the optimizer's state of the search's groups that are not empty; live tensors."""
        groups = [group["params"] for group in self.groups if group["params"]]
        return [[dict(self.optimizer.state.get(parameter, {})) for parameter in group] for group in groups]

    def load_state(self, state: Sequence[GroupState]) -> None:
        """Set the optimizer's state, for the same parameters as when :meth:`state` was called."""
        for group, group_state in zip((group for group in self.groups if group["params"]), state, strict=True):
            for parameter, values in zip(group["params"], group_state, strict=True):
                if values:
                    moves_step = group.get("fused") or group.get("capturable")
                    self.optimizer.state[parameter] = dict(_on_device(values, parameter, bool(moves_step)))

    def _without_search_groups(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        search_numbers = {number for group in state["param_groups"][self._own_count :] for number in group["params"]}
        values = {number: value for number, value in state["state"].items() if number not in search_numbers}
        return {**state, "state": values, "param_groups": state["param_groups"][: self._own_count]}

    def remove(self) -> None:
        """Remove the groups from the optimizer."""
        for parameter in (parameter for group in self.groups for parameter in group["params"]):
            self.optimizer.state.pop(parameter, None)
        del self.optimizer.param_groups[self._own_count :]
        self._scheduler.optimizer = self._scheduler_optimizer
        self._hook.remove()


class _OwnGroups:
    """An optimizer as its scheduler sees it: with only its first ``count`` groups."""

    def __init__(self, optimizer: Any, count: int):
        self._optimizer, self._count = optimizer, count

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups[: self._count]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def _on_device(state: Mapping[str, Any], parameter: nn.Parameter, moves_step: bool) -> Iterator[tuple[str, Any]]:
    """Yield optimizer state moved to the device of its parameter; the step counter only if ``moves_step``."""
    for name, value in state.items():
        moves = isinstance(value, Tensor) and (name != "step" or moves_step)
        yield name, value.to(parameter.device) if moves else value
