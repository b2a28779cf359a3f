"""A search in trl's SFTTrainer gives the numbers of a loop of our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from slat_search import SearchPlan, SlatCallback
from tests.integrations.loops import (
    BUDGET,
    ROWS,
    STEPS,
    InOrder,
    SeededSteps,
    arguments,
    found,
    language_model,
    own_loop,
    rows,
    supernet_on,
)


class SFTInOrder(InOrder, SFTTrainer):
    """Takes the rows as they come."""


@pytest.mark.parametrize("kind", ["screening", "saliency"])
def test_same_numbers(kind: str, tmp_path: Path) -> None:
    """With checkpointed activations, as trl does where it is not told otherwise."""
    plan = SearchPlan(budget=BUDGET)
    alone = {"warmup": 0.0} if kind == "screening" else {}
    model = language_model()
    own = own_loop(model, supernet_on(model, kind, **alone), plan)

    model = language_model()
    supernet = supernet_on(model, kind)
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(50)}, unk_token="w3"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", bos_token="w1", eos_token="w2")
    fixed = arguments(tmp_path)
    names = ("max_steps", "learning_rate", "per_device_train_batch_size", "logging_steps", "optim", "save_strategy")
    args = SFTConfig(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, bf16=False, **{n: getattr(fixed, n) for n in names}
    )
    data = Dataset.from_dict({"input_ids": [row["input_ids"].tolist() for row in rows(model, STEPS * ROWS)]})
    callbacks = [SlatCallback(supernet, plan), SeededSteps()]
    trainer = SFTInOrder(model, args, train_dataset=data, processing_class=tokenizer, callbacks=callbacks)
    trainer.train()
    found(supernet, []).assert_same(own, 1e-4)  # trl computes the loss in another way
    assert trainer.evaluate(data.select(range(2)))["eval_adapter_params"] == supernet.adapter.structure.params
    assert trainer.state.log_history[-1]["eval_adapter_params"] == supernet.adapter.structure.params
