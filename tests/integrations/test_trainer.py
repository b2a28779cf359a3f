"""A search in transformers' Trainer gives the numbers of a loop of our own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from torch import nn

from slat_search import SearchPlan, SlatCallback, SlatError, load_adapter, save_adapter
from slat_search.export import to_peft
from slat_search.structure import GATES, Structure
from tests.integrations.loops import (
    BUDGET,
    PLAN,
    ROWS,
    STEPS,
    WEIGHTED,
    InOrder,
    arguments,
    classifier,
    in_trainer,
    language_model,
    own_loop,
    rows,
    supernet_on,
)


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
    own = own_loop(model, supernet_on(below(model), kind, **alone), plan, accumulation=passes, **how.get("own", {}))
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


@pytest.mark.parametrize("make", [classifier, language_model])
def test_what_was_found_becomes_an_adapter_of_peft(make: Callable[..., nn.Module], tmp_path: Path) -> None:
    """While the supernet is registered, and once it is detached."""
    model = make()
    model.save_pretrained(tmp_path / "base")
    supernet = supernet_on(below(model))
    in_trainer(model, supernet, PLAN, arguments(tmp_path / "run"))
    batch = {"input_ids": torch.stack([row["input_ids"] for row in rows(model, 8)])}
    model.eval()
    with torch.no_grad():
        expected = model(**batch).logits
    kind = peft.AutoPeftModelForSequenceClassification if make is classifier else peft.AutoPeftModelForCausalLM
    for place in (tmp_path / "registered", tmp_path / "detached"):
        to_peft(supernet.adapter, model, base_name=str(tmp_path / "base"), out=place)
        labels = {"num_labels": 3} if make is classifier else {}
        with torch.no_grad():
            again = kind.from_pretrained(place, **labels).eval()(**batch).logits
        assert torch.allclose(again, expected, atol=1e-5)
        supernet.detach()
    with torch.no_grad():
        assert not torch.allclose(model(**batch).logits, expected, atol=1e-3)


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
