"""One loop for everything that trains: search, refit, baselines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ..controller import Controller
from ..errors import SlatError
from ..tasks import Noise
from .task_stream import Source, Stream


class DivergedError(SlatError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Plan:
    """Length and rates of a training; the same for every method that is compared.

    Attributes:
        steps: optimizer steps.
        batch_size: sequences a step.
        learning_rate: of adapter modules.
        head_learning_rate: of the task head.
        weight_decay: AdamW's, on both.
        warmup: fraction of the steps with a rising learning rate; it then falls linearly to 0.
        head_first: fraction of the steps at which the modules' learning rate is 0, so that the head learns first
            (LP-FT, arXiv 2202.10054). Ignored where there is no head, and in a search, which has a warm-up of its own.
        noise: injected into training text only.
        seed: of initialization, data order and noise.
        accumulation: micro-batches per batch, whose gradients are summed, to save memory. A step has the same texts
            with any number of them; noise is drawn for each micro-batch.
    """

    steps: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.06
    head_first: float = 0.0
    noise: Noise = field(default_factory=Noise)
    seed: int = 0
    accumulation: int = 1


def seed_everything(seed: int) -> None:
    """Seed torch's global generators, which dropout and module initialization use."""
    torch.manual_seed(seed)


class Training:
    """Trains heads and adapter; can be interrupted at any stop and resumed exactly, also in another process.

    Args:
        sources: the text of each task with its model; all models have the same backbone.
        adapter: holds the parameters to train beside the heads; None trains the heads alone.
        special_ids: token ids that noise does not change.
        mask_id: token id that ``mask`` noise writes.
        controller: what a search or method adds to plain training.
        turns: task number of each step; by default always the first.
        switch: called with that number before the step.
        balance: maps the loss of a batch and its task number to a weighted loss.

    Attributes:
        step: optimizer steps done.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        adapter: nn.Module | None,
        plan: Plan,
        *,
        special_ids: Collection[int] = (),
        mask_id: int = 0,
        controller: Controller | None = None,
        turns: Iterator[int] | None = None,
        switch: Callable[[int], None] = lambda task: None,
        balance: nn.Module | None = None,
    ):
        self.plan, self.controller = plan, controller or Controller()
        self.step = 0
        self._streams = [Stream(source, plan, special_ids, mask_id) for source in sources]
        self._turns, self._switch, self._balance = turns or repeat(0), switch, balance
        self._heads = nn.ModuleList(source.model.head for source in sources)
        self._device = sources[0].model.device
        heads = list(self._heads.parameters())
        groups: list[dict[str, Any]] = [{"params": heads, "lr": plan.head_learning_rate}] if heads else []
        modules = [p for p in adapter.parameters() if p.requires_grad] if adapter is not None else []
        if modules:
            groups.append({"params": modules, "lr": plan.learning_rate, "of_modules": True})
        self._optimizer = AdamW(groups or [{"params": []}], weight_decay=plan.weight_decay, fused=True)
        for group in self.controller.parameter_groups():
            self._optimizer.add_param_group(group)
        if balance is not None:
            balance.to(self._device)
            balance_group = {"params": list(balance.parameters()), "lr": plan.head_learning_rate, "weight_decay": 0.0}
            self._optimizer.add_param_group(balance_group)
        # a state dict leaves empty groups out, too
        self._optimizer.param_groups = [group for group in self._optimizer.param_groups if group["params"]]
        rest_steps = round(plan.head_first * plan.steps) if heads and not self.controller.warms_up else 0
        factors = [_schedule(plan, group, self.controller, rest_steps) for group in self._optimizer.param_groups]
        self._scheduler = LambdaLR(self._optimizer, factors)
        self._generator = torch.Generator().manual_seed(plan.seed)
        self._is_finite = torch.ones((), dtype=torch.bool, device=self._device)

    def run(self, stops: Collection[int] = ()) -> Iterator[int]:
        """Yield the number of steps done at each of ``stops`` and at the end.

        The caller may evaluate in between, or stop early by not asking for more.

        Raises:
            DivergedError: the loss was not finite; checked at every stop, so that a GPU does not wait at each step.
        """
        stops = {*stops, self.plan.steps}
        if not any(group["params"] for group in self._optimizer.param_groups):  # no head and no adapter
            self.step = self.plan.steps
            yield self.step
            return
        for stream in self._streams:
            stream.model.train()
        while self.step < self.plan.steps:
            self._train_step()
            if self.step in stops:
                if not self._is_finite:
                    raise DivergedError(
                        f"the loss was not finite before step {self.step}; a smaller learning rate may help"
                    )
                yield self.step

    def _train_step(self) -> None:
        task = next(self._turns)
        self._switch(task)
        self._backward(task, next(self._streams[task].batches))
        self._optimizer.step()
        self.step += 1
        self.controller.after_step(self.step, self._optimizer)
        self._optimizer.zero_grad(set_to_none=True)
        self._scheduler.step()

    def _backward(self, task: int, rows: np.ndarray) -> None:
        """Accumulate the gradients of the mean loss of the texts ``rows``, and of the controller's loss."""
        micro_batches = np.array_split(rows, min(self.plan.accumulation, len(rows)))
        self.controller.before_step(len(micro_batches))
        for micro_batch in micro_batches:
            loss = self._streams[task].loss(micro_batch, self._generator, batch=rows)
            self._is_finite &= torch.isfinite(loss.detach())
            if self._balance is not None:
                loss = self._balance(loss, task, len(micro_batch) / len(rows))
            controller_loss = self.controller.loss() if micro_batch is micro_batches[-1] else None
            loss = loss if controller_loss is None else loss + controller_loss
            if loss.requires_grad:  # without a head nothing is left to train once all modules are removed
                loss.backward()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the training without those of adapter and controller, as tensors and plain values.

        Tensors are the live ones: save them before the next step.
        """
        optimizer = self._optimizer.state_dict()
        optimizer["param_groups"] = [group for group in optimizer["param_groups"] if group["params"]]
        return {
            "step": self.step,
            "heads": self._heads.state_dict(),
            "balance": self._balance.state_dict() if self._balance is not None else {},
            "optimizer": optimizer,
            "finite": self._is_finite,
            "drawn": [stream.draws for stream in self._streams],
            "noise": self._generator.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from :meth:`state_dict` of a training with the same arguments.

        Adapter and controller must be in their states of the same step.
        """
        self.step = state["step"]
        self._heads.load_state_dict(state["heads"])
        if self._balance is not None:
            self._balance.load_state_dict(state["balance"])
        self._optimizer.load_state_dict(dict(state["optimizer"]))
        self._scheduler.last_epoch = self.step
        self._is_finite = state["finite"].to(self._device)
        for _ in range(self.step):
            next(self._turns)
        for stream, count in zip(self._streams, state["drawn"], strict=True):
            stream.skip(count)
        self._generator.set_state(state["noise"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None and self._device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self._device)


def _schedule(plan: Plan, group: dict[str, Any], controller: Controller, rest_steps: int) -> Callable[[int], float]:
    """Return the factor on a group's learning rate as a function of the step.

    It rises, then falls linearly. For modules it is 0 during the first ``rest_steps``, and multiplied by the
    controller's factor.
    """
    warmup_steps = max(1, round(plan.warmup * plan.steps))

    def factor(step: int) -> float:
        if group.get("constant"):
            return 1.0
        if group.get("of_modules") and step < rest_steps:
            return 0.0
        controller_factor = controller.lr_factor if group.get("of_modules") else 1.0
        if step < warmup_steps:
            return controller_factor * (step + 1) / warmup_steps
        return controller_factor * max(0.0, (plan.steps - step) / max(1, plan.steps - warmup_steps))

    return factor
