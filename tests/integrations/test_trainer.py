"""A search in transformers' Trainer gives the numbers of a loop of our own."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from slat_search import SearchPlan, SlatCallback, SlatError, Supernet, load_adapter, save_adapter
from slat_search.structure import GATES, Candidate, Space, Structure, find_sites
from tests.integrations.loops import (
    BUDGET,
    RATE,
    ROWS,
    STEPS,
    InOrder,
    arguments,
    classifier,
    in_trainer,
    language_model,
    own_loop,
    rows,
    supernet_on,
)

PLAN = SearchPlan(budget=BUDGET)
WEIGHTED = SearchPlan(sparsity=2.0)


def below(model: nn.Module) -> nn.Module:
    """The frozen part."""
    return model.model if isinstance(model, hf.LlamaForSequenceClassification) else model


def both(
    make: Callable[..., Any], kind: str, plan: SearchPlan, folder: Path, dtype: torch.dtype = torch.float32, **how: Any
) -> tuple[Any, Any]:
    """The same search in both loops; ``how`` has ``own`` and ``args``."""
    alone = {"warmup": 0.0} if make is language_model and kind == "screening" else {}  # which the callback sees itself
    passes = how.get("passes", 1)
    model = make(dtype)
    own = own_loop(model, supernet_on(below(model), kind, **alone), plan, passes=passes, **how.get("own", {}))
    model = make(dtype)
    run, _ = in_trainer(model, supernet_on(below(model), kind), plan, arguments(folder, passes, **how.get("args", {})))
    return own, run


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("make", [classifier, language_model])
@pytest.mark.parametrize("plan", [PLAN, WEIGHTED], ids=["budget", "weight"])
def test_same_numbers(make: Callable[..., nn.Module], kind: str, plan: SearchPlan, tmp_path: Path) -> None:
    """Bit for bit, while gradients are clipped to less than they are."""
    own, run = both(make, kind, plan, tmp_path, own={"clip": 0.05}, args={"max_grad_norm": 0.05})
    run.assert_same(own)
    assert run.loss == pytest.approx(own.loss, abs=1e-6)  # the Trainer adds losses up
    assert 0 < run.structure.params <= (BUDGET if plan is PLAN else 10_000)
    assert any(weight.abs().sum() > 0 for name, weight in run.weights.items() if name.endswith(("core", "up", "shift")))


@pytest.mark.parametrize("kind", GATES)
def test_same_numbers_in_several_passes_a_step(kind: str, tmp_path: Path) -> None:
    own, run = both(language_model, kind, PLAN, tmp_path, passes=3)
    run.assert_same(own, 1e-4)  # each loop divides the loss at another place


@pytest.mark.parametrize("kind", ["screening", "saliency"])
def test_same_numbers_in_mixed_precision(kind: str, tmp_path: Path) -> None:
    own, run = both(classifier, kind, PLAN, tmp_path, own={"autocast": True}, args={"bf16": True})
    run.assert_same(own)


@pytest.mark.parametrize("kind", ["screening", "hard_concrete"])
def test_same_numbers_on_weights_in_half_precision(kind: str, tmp_path: Path) -> None:
    own, run = both(language_model, kind, PLAN, tmp_path, dtype=torch.bfloat16)
    run.assert_same(own)
    assert {weight.dtype for weight in run.weights.values()} == {torch.float32}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_same_numbers_with_checkpointed_activations(kind: str, reentrant: bool, tmp_path: Path) -> None:
    how = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    own, run = both(classifier, kind, PLAN, tmp_path, args=how)
    run.assert_same(own, 1e-6)


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        *(("screening", step) for step in (1, 4, 10)),
        *(("saliency", step) for step in (1, 8, 16)),
        ("sigmoid", 4),
        ("hard_concrete", 10),
        ("hard_concrete", 16),
    ],
)
def test_resumed_is_as_never_left(kind: str, step: int, tmp_path: Path) -> None:
    """In the warm-up, in the search, and when atoms are gone."""
    saving = {"save_strategy": "steps", "save_steps": max(4, step) if step > 1 else 1, "save_only_model": False}
    model = classifier()
    whole, _ = in_trainer(model, supernet_on(model.model, kind), PLAN, arguments(tmp_path, **saving))
    model = classifier()
    with torch.no_grad():
        model.score.weight.zero_()  # what is loaded does not depend on what was there
    again, trainer = in_trainer(
        model, supernet_on(model.model, kind), PLAN, arguments(tmp_path, **saving), tmp_path / f"checkpoint-{step}"
    )
    again.assert_same(whole)
    assert again.loss[step:] == whole.loss[step:]
    assert trainer.state.global_step == STEPS


def test_evaluation_is_of_the_discretized_structure_and_leaves_the_training_alone(tmp_path: Path) -> None:
    model = classifier()
    plain, _ = in_trainer(model, supernet_on(model.model, "sigmoid"), PLAN, arguments(tmp_path))
    model = classifier()
    supernet = supernet_on(model.model, "sigmoid")
    data = rows(model, 16)
    measured: list[tuple[float, float, int]] = []

    class Watch(hf.TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
            copy = pickle.loads(pickle.dumps(model))  # hooks and all
            adapter = copy.model.slat.discretize()
            batch = {name: torch.stack([row[name] for row in data]) for name in data[0]}
            with torch.no_grad():
                loss = copy.train()(**batch).loss  # gates are gone, so nothing is drawn
            measured.append(
                (metrics["eval_loss"], float(loss), metrics["eval_adapter_params"] - adapter.structure.params)
            )

    callback = SlatCallback(supernet, PLAN)
    args = arguments(tmp_path, eval_strategy="steps", eval_steps=3, per_device_eval_batch_size=16)
    trainer = InOrder(
        model, args, train_dataset=rows(model, STEPS * ROWS), eval_dataset=data, callbacks=[callback, Watch()]
    )
    trainer.train()
    assert len(measured) == STEPS // 3 + 1  # and at the end
    assert all(loss == pytest.approx(by_hand, abs=1e-5) and not other for loss, by_hand, other in measured)
    assert callback.structure == plain.structure
    for name, weight in supernet.adapter.state_dict().items():
        assert torch.equal(weight, plain.weights[name])


def test_what_the_trainer_saves_loads_into_a_model_of_its_own(tmp_path: Path) -> None:
    model = classifier()
    supernet = supernet_on(model.model)
    run, trainer = in_trainer(model, supernet, PLAN, arguments(tmp_path))
    batch = {"input_ids": torch.stack([row["input_ids"] for row in rows(model, 8)])}
    model.eval()
    with torch.no_grad():
        expected = model(**batch).logits
    trainer.save_model(str(tmp_path / "model"))
    file = save_adapter(supernet.adapter, tmp_path)
    for place in (tmp_path / "model", file, tmp_path):
        again = hf.LlamaForSequenceClassification.from_pretrained(tmp_path / "model").eval()
        adapter = load_adapter(again.model, place)
        assert adapter.structure == run.structure
        with torch.no_grad():
            assert torch.equal(again(**batch).logits, expected)
    assert file.stat().st_size < 100_000


def test_a_checkpoint_of_a_search_that_goes_on_is_no_adapter_yet(tmp_path: Path) -> None:
    model = classifier()
    args = arguments(tmp_path, save_strategy="steps", save_steps=5)
    in_trainer(model, supernet_on(model.model, "saliency"), PLAN, args)
    with pytest.raises(SlatError, match="its search had not ended"):
        load_adapter(classifier().model, tmp_path / "checkpoint-5")
    with pytest.raises(SlatError, match=r"no adapter\.safetensors there"):
        load_adapter(classifier().model, tmp_path)
    (tmp_path / "adapter.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(SlatError, match="it cannot be read"):
        load_adapter(classifier().model, tmp_path)


def test_the_backbone_is_reached_while_registered_and_bare_after(tmp_path: Path) -> None:
    model = classifier()
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    supernet = supernet_on(model.model, "saliency")
    assert model.model.state_dict().keys() == before.keys()
    supernet.register()
    own = set(map(id, supernet.parameters()))
    assert own
    assert own <= set(map(id, model.parameters()))
    model.eval()
    assert not supernet.training
    model(input_ids=torch.tensor([[3, 4]]), labels=torch.tensor([0])).loss.backward()
    assert any(p.grad is not None for p in supernet.adapter.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in supernet.adapter.parameters())
    supernet.detach()
    in_trainer(model, (again := supernet_on(model.model, "saliency")), PLAN, arguments(tmp_path))
    again.detach()
    after = model.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    copy = pickle.loads(pickle.dumps(model.model))
    assert all(torch.equal(before[name], value) for name, value in copy.state_dict().items())
    pickle.loads(pickle.dumps(again))


@pytest.mark.filterwarnings("ignore:the training ended after")
def test_a_training_that_is_stopped_early_is_discretized(tmp_path: Path) -> None:
    class Stop(hf.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
            control.should_training_stop = state.global_step == 8
            return control

    model = classifier()
    supernet = supernet_on(model.model, "saliency")
    callback = SlatCallback(supernet, PLAN)
    trainer = hf.Trainer(model, arguments(tmp_path), train_dataset=rows(model, 80), callbacks=[callback, Stop()])
    trainer.train()
    assert supernet.gates is None
    assert callback.structure.params > 0
    assert isinstance(callback.structure, Structure)


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


@pytest.mark.parametrize("name", ["Adam", "NAdam", "Adamax", "SGD", "RMSprop", "Adagrad", "Adadelta", "ASGD", "Rprop"])
def test_optimizers_of_torch_shrink(name: str, tmp_path: Path) -> None:
    model = classifier()
    optimizer = getattr(torch.optim, name)(model.score.parameters(), lr=1e-3)
    optimizers = (optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))
    args = arguments(tmp_path, max_steps=12)
    run, _ = in_trainer(model, supernet_on(model.model), PLAN, args, optimizers=optimizers)
    assert 0 < run.structure.params <= BUDGET


def test_the_size_is_in_the_logs_of_an_evaluation(tmp_path: Path) -> None:
    model = classifier()
    supernet = supernet_on(model.model)
    args = arguments(tmp_path, max_steps=6, eval_strategy="steps", eval_steps=3)
    run, trainer = in_trainer(model, supernet, PLAN, args, eval_dataset=rows(model, 8))
    assert trainer.evaluate()["eval_adapter_params"] == run.structure.params
    logs = trainer.state.log_history
    assert sum("eval_loss" in log for log in logs) == 3
    assert all(("eval_adapter_params" in log) == ("eval_loss" in log) for log in logs)
    assert logs[-1]["eval_adapter_params"] == run.structure.params
    supernet.detach()
    assert "eval_adapter_params" not in trainer.evaluate()
    assert "eval_adapter_params" not in trainer.state.log_history[-1]
