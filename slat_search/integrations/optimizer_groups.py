"""Parameter groups of a search in a foreign optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import SlatError

#: names of optimizers whose state is of rows and columns, not of single weights
_FACTORED = ("Adafactor",)
#: a group's optimizer state: for each parameter in order its values by name
GroupState = list[dict[str, Any]]


class SearchGroups:
    """The groups of a search in a foreign optimizer, whose own groups, state and schedule stay as they are.

    The scheduler goes on to see the optimizer's own groups alone. The state dict of the optimizer holds them alone too,
    so it fits the optimizer that another process makes; what it lacks is :meth:`state`.

    Args:
        optimizer: holds none of ``modules`` yet.
        scheduler: sets the learning rates of the optimizer's own groups.
        modules: parameters of the candidates, trained at the rate of the optimizer's first group.
        constant: further groups, each with a learning rate that stays.
        weight_decay: of the modules.

    Raises:
        SlatError: an optimizer that takes no further groups, has no learning rate or cannot shrink, or that holds
            ``modules`` already.
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
        there = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        new = [*modules, *(parameter for group in constant for parameter in group["params"])]
        if any(id(parameter) in there for parameter in new):
            raise SlatError("optimizer: it holds candidates already; make SlatCallback first, it adds them by itself")
        self.optimizer, self._own = optimizer, len(optimizer.param_groups)
        of_modules: dict[str, Any] = {"params": list(modules), "lr": optimizer.param_groups[0]["lr"]}
        optimizer.add_param_group(
            of_modules | ({"weight_decay": weight_decay} if "weight_decay" in optimizer.defaults else {})
        )
        for group in constant:
            optimizer.add_param_group(group)
        self._rates = [group["lr"] for group in constant]
        self._scheduler, self._scheduled = scheduler, scheduler.optimizer
        scheduler.optimizer = _OwnGroups(scheduler.optimizer, self._own)
        self._hook = optimizer.register_state_dict_post_hook(self._leave_out)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The groups of the search: that of the modules, then the constant ones."""
        return self.optimizer.param_groups[self._own :]

    def set_rates(self, factor: float) -> None:
        """Set the learning rates of the coming step: ``factor`` times the scheduled one for the modules."""
        modules, *constant = self.groups
        modules["lr"] = factor * self.optimizer.param_groups[0]["lr"]
        for group, rate in zip(constant, self._rates, strict=True):
            group["lr"] = rate

    def check_state(self) -> None:
        """Check that the state of the candidates can follow when atoms leave.

        Raises:
            SlatError: some of it is neither of the shape of its parameter nor a single number.
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
        """Return the optimizer's state of the groups of the search that hold something; live tensors."""
        groups = [group["params"] for group in self.groups if group["params"]]
        return [[dict(self.optimizer.state.get(parameter, {})) for parameter in group] for group in groups]

    def load_state(self, state: Sequence[GroupState]) -> None:
        """Set the optimizer's state of the same parameters as when :meth:`state` was called."""
        for group, values in zip((group for group in self.groups if group["params"]), state, strict=True):
            for parameter, known in zip(group["params"], values, strict=True):
                if known:
                    on_device = group.get("fused") or group.get("capturable")
                    self.optimizer.state[parameter] = dict(_placed(known, parameter, bool(on_device)))

    def _leave_out(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        left_out = {number for group in state["param_groups"][self._own :] for number in group["params"]}
        values = {number: value for number, value in state["state"].items() if number not in left_out}
        return {**state, "state": values, "param_groups": state["param_groups"][: self._own]}

    def remove(self) -> None:
        """Take the groups out of the optimizer again."""
        for parameter in (parameter for group in self.groups for parameter in group["params"]):
            self.optimizer.state.pop(parameter, None)
        del self.optimizer.param_groups[self._own :]
        self._scheduler.optimizer = self._scheduled
        self._hook.remove()


class _OwnGroups:
    """An optimizer as its scheduler sees it: with the groups that it had at first."""

    def __init__(self, optimizer: Any, count: int):
        self._optimizer, self._count = optimizer, count

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups[: self._count]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)


def _placed(state: Mapping[str, Any], parameter: nn.Parameter, counted_there: bool) -> Iterator[tuple[str, Any]]:
    """Yield optimizer state on the device of its parameter; the step counter only where it is ``counted_there``."""
    for name, value in state.items():
        moves = isinstance(value, Tensor) and (name != "step" or counted_there)
        yield name, value.to(parameter.device) if moves else value
