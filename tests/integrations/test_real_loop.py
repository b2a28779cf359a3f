"""The Trainer and the loop of the command line, on the real encoder and real headlines, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from slat_search import SearchPlan, SlatCallback, Supernet, controller_for
from slat_search.controller import Controller
from slat_search.models.classifier import TextClassifier, task_loss
from slat_search.structure import Candidate, SearchOptions, Space, find_sites
from slat_search.tasks import training_batches
from slat_search.training.context import Context
from slat_search.training.loop import Plan, Training, _schedule
from slat_search.training.task_stream import Source
from tests.integrations.loops import SEED, InOrder, Run, SeededSteps, arguments, found

PLAN = Plan(steps=12, batch_size=16, learning_rate=3e-3, head_learning_rate=3e-3)
SEARCH = SearchPlan(budget=3000, gate_learning_rate=0.3)


class WithLoss(nn.Module):
    """A classifier as the Trainer wants it."""

    accepts_loss_kwargs = False

    def __init__(self, classifier: TextClassifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, labels: Tensor, **batch: Tensor) -> dict[str, Tensor]:
        logits = self.classifier(batch)
        return {"loss": task_loss(logits, labels), "logits": logits}


def made(context: Context, kind: str) -> tuple[TextClassifier, Supernet]:
    torch.manual_seed(0)
    model = context.models()[0]
    assert isinstance(model, TextClassifier)
    space = Space({"lora": Candidate(2), "bias": Candidate(1), "spectral": Candidate(6)})
    return model, Supernet(model.backbone, find_sites(model.backbone), space, SearchOptions(kind))


def in_our_loop(context: Context, kind: str) -> tuple[Run, Tensor]:
    model, supernet = made(context, kind)
    search = controller_for(supernet, SEARCH, PLAN.steps)
    training = Training([Source(model, context.tasks[0].train)], supernet.adapter, PLAN, controller=search)
    torch.manual_seed(SEED)
    for _ in training.run():
        pass
    supernet.discretize()
    supernet.detach()
    return found(supernet, []), model.head.weight.detach()


@pytest.mark.parametrize("kind", ["screening", "saliency", pytest.param("sigmoid", marks=pytest.mark.slow)])
def test_same_numbers(context: Context, kind: str, tmp_path: Path) -> None:
    own, head = in_our_loop(context, kind)

    model, supernet = made(context, kind)
    order = training_batches(context.tasks[0].train, PLAN.batch_size, PLAN.seed)
    batches: list[Any] = [context.tasks[0].train.batch(next(order)) for _ in range(PLAN.steps)]
    optimizer = AdamW(model.head.parameters(), lr=PLAN.head_learning_rate, weight_decay=PLAN.weight_decay, fused=True)
    schedule = LambdaLR(optimizer, _schedule(PLAN, {}, Controller(), 0))
    more = {"max_steps": PLAN.steps, "per_device_train_batch_size": 1, "weight_decay": PLAN.weight_decay}
    args = arguments(tmp_path, **more, max_grad_norm=0.0, remove_unused_columns=False)
    trainer = InOrder(
        WithLoss(model),
        args,
        train_dataset=batches,
        data_collator=lambda items: items[0],
        callbacks=[SlatCallback(supernet, SEARCH), SeededSteps()],
        optimizers=(optimizer, schedule),
    )
    trainer.train()
    supernet.detach()
    found(supernet, []).assert_same(own)
    assert torch.equal(model.head.weight, head)
