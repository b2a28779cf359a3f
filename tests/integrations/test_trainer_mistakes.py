"""What cannot be searched in a Trainer is told in one sentence, before it trains."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from slat_search import SearchPlan, SlatCallback, SlatError, Supernet
from slat_search.structure import Candidate, Space, find_sites
from tests.integrations.loops import BUDGET, PLAN, RATE, WEIGHTED, arguments, classifier, in_trainer, rows, supernet_on


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fp16": True}, "fp16: its scaled gradients cannot be measured; use bf16"),
        (
            {"load_best_model_at_end": True, "metric_for_best_model": "loss"},
            "load_best_model_at_end: the best checkpoint",
        ),
        ({"fsdp": ["full_shard"]}, "DeepSpeed and FSDP keep to the parameters they begin with"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size: its retry cannot start a search anew"),
    ],
)
def test_arguments_that_do_not_go_together_with_a_search(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    model = classifier()
    callback = SlatCallback(supernet_on(model.model), PLAN)
    data = rows(model, 80)
    trainer = hf.Trainer(model, arguments(tmp_path), train_dataset=data, eval_dataset=data, callbacks=[callback])
    for name, value in change.items():  # as no machine of ours has what some of them ask for at first
        setattr(trainer.args, name, value)
    with pytest.raises(SlatError, match=message):
        callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=model)


def test_mistakes_are_told_in_one_sentence(tmp_path: Path) -> None:
    model, other = classifier(), classifier()
    callback = SlatCallback(supernet_on(other.model), PLAN)
    with pytest.raises(SlatError, match="does not stand on the model of the Trainer"):
        hf.Trainer(model, arguments(tmp_path), callbacks=[callback])
    with pytest.raises(SlatError, match="another supernet is registered"):
        SlatCallback(supernet_on(other.model), PLAN)
    callback.supernet.detach()
    other.model.requires_grad_(True)
    with pytest.raises(SlatError, match=r"embed_tokens.weight of the model below the supernet is not frozen"):
        hf.Trainer(other, arguments(tmp_path), callbacks=[SlatCallback(supernet_on(other.model), PLAN)])
    two = Supernet(model.model, find_sites(model.model), tasks=("a", "b"))
    with pytest.raises(SlatError, match="several tasks"):
        SlatCallback(two, PLAN)
    model = classifier()
    supernet = supernet_on(model.model)
    optimizer = torch.optim.AdamW(supernet.adapter.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    fields = {"train_dataset": rows(model, 8), "optimizers": (optimizer, schedule)}
    with pytest.raises(SlatError, match="it holds candidates already"):
        hf.Trainer(model, arguments(tmp_path), callbacks=[SlatCallback(supernet, PLAN)], **fields).train()


@pytest.mark.parametrize("kind", ["screening", "sigmoid"])
def test_a_checkpoint_resumes_under_its_own_plan_only(kind: str, tmp_path: Path) -> None:
    saving = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4}

    def train(plan: SearchPlan, place: Path | None = None) -> None:
        model = classifier()
        in_trainer(model, supernet_on(model.model, kind), plan, arguments(tmp_path, **saving), place)

    train(PLAN)
    place = tmp_path / "checkpoint-4"
    with pytest.raises(SlatError, match="step 4: its search has a budget of 400, and the plan a budget of 300"):
        train(SearchPlan(budget=300), place)
    with pytest.raises(SlatError, match="its search has a budget of 400, and the plan a sparsity of 2"):
        train(WEIGHTED, place)
    train(SearchPlan(budget=float(BUDGET), sparsity=5.0), place)  # which a budget ignores


def test_a_checkpoint_of_an_earlier_version_holds_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    args = arguments(tmp_path, max_steps=6, save_strategy="steps", save_steps=4)
    collect = SlatCallback.collect
    earlier = {"search", "optimizer"}
    monkeypatch.setattr(SlatCallback, "collect", lambda own: {n: v for n, v in collect(own).items() if n in earlier})
    model = classifier()
    in_trainer(model, supernet_on(model.model), PLAN, args)
    model = classifier()
    _, trainer = in_trainer(
        model, supernet_on(model.model), SearchPlan(budget=300), args, resume_from=tmp_path / "checkpoint-4"
    )
    assert trainer.state.global_step == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"budget": -5}, "budget must be a finite number of at least 0, not -5"),
        ({"budget": math.nan}, "budget must be a finite number of at least 0, not nan"),
        ({"budget": "300"}, "budget must be a finite number of at least 0, not '300'"),
        ({"sparsity": -1.0}, "sparsity must be a finite number of at least 0, not -1.0"),
        ({"sparsity": math.inf}, "sparsity must be a finite number of at least 0, not inf"),
        ({"budget": 0}, "budget must be a whole number of at least 1, not 0"),
        ({"budget": 300.5}, "budget must be a whole number of at least 1, not 300.5"),
        ({"budget": 20}, "no candidate has so few parameters as the budget of 20; give at least 24"),
    ],
)
def test_a_plan_that_no_search_can_follow(fields: dict[str, Any], message: str) -> None:
    model = classifier()
    supernet = Supernet(model.model, find_sites(model.model), Space({"lora": Candidate(2)}))
    with pytest.raises(SlatError, match=message):
        SlatCallback(supernet, SearchPlan(**fields))


def test_a_budget_above_the_supernet_keeps_all_of_it(tmp_path: Path) -> None:
    model = classifier()
    supernet = supernet_on(model.model)
    run, _ = in_trainer(model, supernet, SearchPlan(budget=10**6), arguments(tmp_path, max_steps=6))
    assert run.structure.params == supernet.pressure.total


def test_a_plan_without_pressure_is_told_of() -> None:
    model = classifier()
    with pytest.warns(UserWarning, match="neither a budget nor a sparsity, so every candidate is kept") as told:
        SlatCallback(supernet_on(model.model))
    assert [warning.filename for warning in told] == [__file__]
    for plan in (PLAN, WEIGHTED):
        model = classifier()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            SlatCallback(supernet_on(model.model), plan)


def test_a_supernet_that_was_detached_is_not_searched(tmp_path: Path) -> None:
    model = classifier()
    supernet = supernet_on(model.model)
    supernet.detach()
    with pytest.raises(SlatError, match="the supernet was detached from its model; make another one"):
        SlatCallback(supernet, PLAN)
    callback = SlatCallback(supernet_on(model.model), PLAN)
    trainer = hf.Trainer(model, arguments(tmp_path), train_dataset=rows(model, 8), callbacks=[callback])
    callback.supernet.detach()
    with pytest.raises(SlatError, match="or was detached"):
        trainer.train()
    assert trainer.state.global_step == 0


class Blockwise(torch.optim.SGD):
    """Keeps a number for each row, as optimizers in 8 bits keep one for each block."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["scales"] = torch.zeros(2 * len(parameter))
        return super().step(closure)


def test_an_optimizer_whose_state_cannot_shrink_is_refused(tmp_path: Path) -> None:
    model = classifier()
    args = arguments(tmp_path, optim="adafactor")
    trainer = hf.Trainer(
        model, args, train_dataset=rows(model, 80), callbacks=[SlatCallback(supernet_on(model.model), PLAN)]
    )
    with pytest.raises(SlatError, match="the state of Adafactor is not kept for each weight"):
        trainer.train()
    assert trainer.state.global_step == 0
    model = classifier()
    optimizer = Blockwise(model.score.parameters(), lr=RATE)
    optimizers = (optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))
    callbacks = [SlatCallback(supernet_on(model.model), PLAN)]
    trainer = hf.Trainer(
        model, arguments(tmp_path), train_dataset=rows(model, 80), callbacks=callbacks, optimizers=optimizers
    )
    with pytest.raises(SlatError, match="the state of Blockwise is not kept for each weight"):
        trainer.train()
