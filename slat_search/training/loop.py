"""One loop for everything that trains: search, refit, baselines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..errors import SlatError
from ..tasks import Encoded, Noise, embedding_noise, held_out, noisy_labels, noisy_tokens, training_batches
from .classifier import TextClassifier, task_loss


class DivergedError(SlatError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; the same for every method that is compared.

    Attributes:
        steps: optimiser steps.
        batch_size: sequences a step.
        learning_rate: of adapter modules.
        head_learning_rate: of the task head.
        weight_decay: AdamW's, on both.
        warmup: share of the steps with a rising learning rate; it then falls linearly to 0.
        noise: injected into training text only.
        seed: of initialisation, data order and noise.
    """

    steps: int
    batch_size: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float = 0.01
    warmup: float = 0.06
    noise: Noise = field(default_factory=Noise)
    seed: int = 0


class Controller(Protocol):
    """What a search adds to plain training.

    Attributes:
        held_out: share of the training text that structure variables learn from and weights do not: bilevel
            optimisation in its first-order form (Liu et al. 2019, arXiv 1806.09055). 0: both learn from all of it.
        pace: factor on the modules' learning rate, read before each step.
    """

    held_out: float
    pace: float

    def loss(self) -> Tensor | None:
        """A term to add to the task loss of this step."""

    def variables(self) -> list[nn.Parameter]:
        """Structure variables that move at this step."""

    def parameter_groups(self) -> list[dict]:
        """Further optimiser groups (structure variables)."""

    def after_step(self, step: int, optimiser: Optimizer) -> None:
        """Called after each optimiser step, with the number of steps done."""


def seed_everything(seed: int) -> None:
    """Seed torch's global generators: dropout and module initialisation know no other."""
    torch.manual_seed(seed)


def train(
    model: TextClassifier,
    adapter: nn.Module | None,
    data: Encoded,
    plan: Plan,
    *,
    stops: Collection[int] = (),
    special_ids: Collection[int] = (),
    mask_id: int = 0,
    controller: Controller | None = None,
) -> Iterator[int]:
    """Train head and adapter; yields the number of steps done at each of ``stops`` and at the end.

    The caller may evaluate between, or stop early by not asking for more.

    Args:
        adapter: holds the parameters to train beside the head; None trains the head alone.
        data: training text; its order depends on ``plan.seed`` alone, so it is the same for every method.
        special_ids: token ids that noise leaves alone.
        mask_id: what ``mask`` noise writes.

    Raises:
        DivergedError: the loss was not finite; checked at every stop, so that a GPU need not wait each step.
    """
    device = next(model.parameters()).device
    head = list(model.head.parameters())
    groups: list[dict] = [{"params": head, "lr": plan.head_learning_rate}]
    trained = [p for p in adapter.parameters() if p.requires_grad] if adapter is not None else []
    if trained:
        groups.append({"params": trained, "lr": plan.learning_rate, "paced": True})
    optimiser = AdamW(groups, weight_decay=plan.weight_decay, fused=True)
    if controller is not None:
        for group in controller.parameter_groups():
            optimiser.add_param_group(group)
    schedule = LambdaLR(optimiser, [_schedule(plan, group, controller) for group in optimiser.param_groups])
    generator = torch.Generator().manual_seed(plan.seed)
    data = noisy_labels(data, plan.noise, model.head.out_features, plan.seed)
    vocabulary = torch.from_numpy(np.unique(data.ids).astype(np.int64))
    vocabulary = vocabulary[~torch.isin(vocabulary, torch.tensor(sorted(special_ids), dtype=torch.long))]
    stops = {*stops, plan.steps}
    finite = torch.ones((), dtype=torch.bool, device=device)
    model.train()
    rows, held = held_out(data, controller.held_out if controller is not None else 0.0, plan.seed)
    batches = training_batches(data, plan.batch_size, plan.seed, rows)
    gate_batches = training_batches(data, plan.batch_size, plan.seed, held) if len(held) else None
    embeddings = model.backbone.get_input_embeddings()

    def loss_of(rows: np.ndarray) -> Tensor:
        batch = noisy_tokens(data.batch(rows), plan.noise, special_ids, mask_id, vocabulary, generator)
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        with embedding_noise(embeddings, plan.noise, generator):
            return task_loss(model(batch), batch["labels"])

    for step in range(1, plan.steps + 1):
        loss = loss_of(next(batches))
        finite &= torch.isfinite(loss.detach())
        moving = controller.variables() if controller is not None and gate_batches is not None else []
        if moving and gate_batches is not None:
            loss.backward()
            _forget_gradients(moving)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(next(gate_batches))
        extra = controller.loss() if controller is not None else None
        (loss if extra is None else loss + extra).backward()
        if moving:
            known = {id(variable) for variable in moving}
            _forget_gradients(p for group in optimiser.param_groups for p in group["params"] if id(p) not in known)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if controller is not None:
            controller.after_step(step, optimiser)
        schedule.step()
        if step in stops:
            if not finite:
                raise DivergedError(f"the loss was not finite before step {step}; a smaller learning rate may help")
            yield step


def _forget_gradients(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def _schedule(plan: Plan, group: dict, controller: Controller | None) -> Callable[[int], float]:
    """The factor on a group's learning rate at each step: rise, linear fall, and the controller's pace for modules."""
    rising = max(1, round(plan.warmup * plan.steps))

    def factor(step: int) -> float:
        if group.get("constant"):
            return 1.0
        pace = controller.pace if controller is not None and group.get("paced") else 1.0
        if step < rising:
            return pace * (step + 1) / rising
        return pace * max(0.0, (plan.steps - step) / max(1, plan.steps - rising))

    return factor
