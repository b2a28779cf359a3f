"""The same search in a loop of our own and in a Trainer, on the same data in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import Trainer, TrainingArguments

from slat_search import SearchPlan, SlatCallback, Supernet, controller_for
from slat_search.structure import Candidate, SearchOptions, Space, find_sites
from tests.structure.test_families import GROUPED

SPACE = Space({"spectral": Candidate(4), "lora": Candidate(2), "norm": Candidate(1), "bias": Candidate(1)})
BUDGET = 400
PLAN = SearchPlan(budget=BUDGET)
WEIGHTED = SearchPlan(sparsity=2.0)
STEPS = 20
RATE = 1e-2
ROWS = 4  # of a backward pass
SEED = 42


class InOrder(Trainer):
    """Takes the rows as they come, as the loop of our own does."""

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler:
        return torch.utils.data.SequentialSampler(self.train_dataset)


class SeededSteps(hf.TrainerCallback):
    """Seeds what is drawn in forward passes, as the loop of our own does; drawing the data has moved it on."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            torch.manual_seed(SEED)


def rows(model: nn.Module, count: int) -> list[dict[str, Tensor]]:
    """Sequences that count up from anywhere, and for a classifier where from."""
    generator = torch.Generator().manual_seed(3)
    starts = torch.randint(3, 20, (count, 1), generator=generator)
    ids = starts + torch.arange(12)
    labels = starts.squeeze(1) % 3 if isinstance(model, hf.LlamaForSequenceClassification) else ids
    return [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]


def classifier(dtype: torch.dtype = torch.float32) -> hf.LlamaForSequenceClassification:
    """A frozen model under a head that trains."""
    torch.manual_seed(0)
    config = hf.LlamaConfig(**GROUPED, num_labels=3)
    model = hf.LlamaForSequenceClassification(config).to(dtype)
    model.model.requires_grad_(False)
    model.score.to(torch.float32)
    return model


def language_model(dtype: torch.dtype = torch.float32) -> hf.LlamaForCausalLM:
    """A model all of which is frozen."""
    torch.manual_seed(0)
    return hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED)).requires_grad_(False).to(dtype)


def supernet_on(model: nn.Module, kind: str = "screening", **options: Any) -> Supernet:
    """A fresh supernet, the same each time."""
    torch.manual_seed(1)
    return Supernet(model, find_sites(model), SPACE, SearchOptions(kind, **options))


@dataclass
class Run:
    """What a training left.

    Attributes:
        loss: of each step.
        weights: of the adapter, by name.
        structure: what was found.
    """

    structure: Any
    weights: dict[str, Tensor]
    loss: list[float] = field(default_factory=list)

    def assert_same(self, other: Run, tolerance: float = 0.0) -> None:
        """Compare structures and weights; the latter may differ by a share of their size."""
        assert self.structure == other.structure
        assert self.weights.keys() == other.weights.keys()
        for name, weight in self.weights.items():
            torch.testing.assert_close(weight, other.weights[name], atol=tolerance, rtol=tolerance)


def found(supernet: Supernet, loss: Sequence[float]) -> Run:
    weights = {name: value.detach().clone() for name, value in supernet.adapter.state_dict().items()}
    return Run(supernet.adapter.structure, weights, list(loss))


def own_loop(
    model: nn.Module,
    supernet: Supernet,
    plan: SearchPlan,
    *,
    accumulation: int = 1,
    clip: float = 1.0,
    autocast: bool = False,
) -> Run:
    """Train with the loop of the documentation."""
    search = controller_for(supernet, plan, STEPS)
    head = [p for p in model.parameters() if p.requires_grad]
    optimizer = AdamW([{"params": head}, {"params": supernet.adapter.parameters()}], lr=RATE, weight_decay=0.0)
    supernet.register()
    for group in search.parameter_groups():
        optimizer.add_param_group(group)
    data, losses = iter(rows(model, STEPS * accumulation * ROWS)), []
    model.train()
    torch.manual_seed(SEED)
    for step in range(1, STEPS + 1):
        search.before_step(accumulation)
        total = 0.0
        for number in range(accumulation):
            drawn = [next(data) for _ in range(ROWS)]
            batch = {name: torch.stack([row[name] for row in drawn]) for name in drawn[0]}
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                loss = model(**batch).loss / accumulation
            total += loss.item()
            extra = search.loss() if number == accumulation - 1 else None
            (loss if extra is None else loss + extra).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.param_groups[0]["lr"] = RATE * (STEPS - step + 1) / STEPS
        optimizer.param_groups[1]["lr"] = search.lr_factor * RATE * (STEPS - step + 1) / STEPS
        optimizer.step()
        search.after_step(step, optimizer)
        model.zero_grad()
        losses.append(total)
    supernet.discretize(optimizer)
    run = found(supernet, losses)
    supernet.detach()
    return run


def arguments(folder: Path, passes: int = 1, **options: Any) -> TrainingArguments:
    """Those that make a Trainer do as :func:`own_loop` does."""
    fixed: dict[str, Any] = {
        "max_steps": STEPS,
        "learning_rate": RATE,
        "weight_decay": 0.0,
        "per_device_train_batch_size": ROWS,
        "gradient_accumulation_steps": passes,
        "logging_steps": 1,
        "optim": "adamw_torch",
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return TrainingArguments(output_dir=str(folder), **{**fixed, **options})


def steady(kind: str) -> tuple[SearchPlan, dict[str, Any]]:
    """A plan, and arguments of an optimizer that does not make much of rounding, as Adam does of gates' gradients."""
    if kind == "sigmoid":
        return SearchPlan(budget=BUDGET, gate_learning_rate=100.0), {"optim": "sgd", "learning_rate": 0.3}
    return SearchPlan(budget=BUDGET), {}


def in_trainer(
    model: nn.Module,
    supernet: Supernet,
    plan: SearchPlan,
    args: TrainingArguments,
    resume_from: Path | None = None,
    **options: Any,
) -> tuple[Run, Trainer]:
    """Train with the callback; the supernet stays on the model."""
    data = rows(model, STEPS * args.gradient_accumulation_steps * args.per_device_train_batch_size * args.world_size)
    callback = SlatCallback(supernet, plan)
    trainer = InOrder(model, args, train_dataset=data, callbacks=[callback, SeededSteps()], **options)
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return found(supernet, losses), trainer
